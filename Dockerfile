# The image of `api`, `worker` and `migrate`. It holds the workspace as it is, since Node runs the `.ts` files
# directly, and strips no types under node_modules: a bundle of packages (`pnpm deploy`) would not run.

FROM node:24-slim AS source
WORKDIR /posthorn
COPY . .

# Prisma's generator is a development dependency: its client is made here, and only the client is kept.
FROM source AS generated
RUN npx -y pnpm@12.21.0 install --frozen-lockfile

# Without the optional packages, among them the embedded PostgreSQL: the image has a database beside it.
FROM source AS installed
RUN npx -y pnpm@12.21.0 install --frozen-lockfile --prod --no-optional --ignore-scripts
COPY --from=generated /posthorn/packages/store/src/generated packages/store/src/generated

FROM node:24-slim
# Without it Node lets young objects grow to 64 MB before it looks at them, in each process (docs/performance.md).
ENV NODE_ENV=production POSTHORN_HOST=0.0.0.0 NODE_OPTIONS="--max-semi-space-size=16 --max-old-space-size=2000"
WORKDIR /posthorn
COPY --from=installed /posthorn .
USER node
EXPOSE 7676
CMD ["node", "apps/cli/src/main.ts", "api"]
