import { type Static, Type } from 'typebox'
import { PublicId, Uid } from './identifiers.ts'
import { Line, Time } from './text.ts'

const OwnUid = Uid("Your application's own name for the owner, such as its id in your database.")
const Name = Line(200, 'For people to read.')

export const Owner = Type.Object(
  {
    id: PublicId('own', 'Id of the owner.'),
    uid: Type.Union([Type.String(), Type.Null()]),
    name: Type.Union([Type.String(), Type.Null()]),
    createdAt: Time('When it was made.'),
    updatedAt: Time('When it was last changed.'),
  },
  { title: 'Owner', additionalProperties: false },
)
export type Owner = Static<typeof Owner>

export const NewOwner = Type.Object(
  { uid: OwnUid, name: Type.Optional(Type.Union([Name, Type.Null()])) },
  { title: 'NewOwner', additionalProperties: false },
)
export type NewOwner = Static<typeof NewOwner>

export const OwnerChange = Type.Object(
  { uid: Type.Optional(OwnUid), name: Type.Optional(Type.Union([Name, Type.Null()])) },
  { title: 'OwnerChange', additionalProperties: false },
)
export type OwnerChange = Static<typeof OwnerChange>
