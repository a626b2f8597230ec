/** Which of the expected violations an error of Prisma's is. https://www.prisma.io/docs/orm/reference/error-reference */
export function prismaCode(error: unknown): 'unique-violation' | undefined {
  return (error as { code?: unknown } | null)?.code === 'P2002' ? 'unique-violation' : undefined
}
