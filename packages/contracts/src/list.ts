import { type TSchema, Type } from 'typebox'

export const LIST_LIMIT_MAX = 250
export const LIST_LIMIT_DEFAULT = 50

/** One page of a list, and the cursor of the page after it. */
export const List = <Item extends TSchema>(item: Item) =>
  Type.Object(
    {
      data: Type.Array(item),
      next: Type.Union([
        Type.String({
          description:
            'Give it as cursor to get the next page. It may be there although this page is not full: where little fits the filters, each page looks through a part of what there is.',
        }),
        Type.Null({ description: 'This is the last page.' }),
      ]),
    },
    { additionalProperties: false },
  )

/** Query of every list. */
export const pageMembers = {
  limit: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: LIST_LIMIT_MAX,
      default: LIST_LIMIT_DEFAULT,
      description: 'Items on a page.',
      'x-expected': `be a whole number from 1 to ${LIST_LIMIT_MAX}`,
    }),
  ),
  cursor: Type.Optional(Type.String({ maxLength: 512, description: 'The next of the page before.' })),
}

export const PageQuery = Type.Object(pageMembers, { additionalProperties: false })
