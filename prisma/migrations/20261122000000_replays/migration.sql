-- A replay begins the retry schedule anew; attempts go on counting, since their numbers are keys of the log.
ALTER TABLE "deliveries" ADD COLUMN "attempts_before_replay" SMALLINT NOT NULL DEFAULT 0;

CREATE TYPE "replay_selection" AS ENUM ('dead', 'skipped', 'all', 'missing');
CREATE TYPE "replay_state" AS ENUM ('running', 'done', 'cancelled');

CREATE TABLE "replays" (
  "id" UUID NOT NULL,
  "owner_id" UUID NOT NULL,
  "endpoint_id" UUID NOT NULL,
  "idempotency_key" TEXT,
  "after" TIMESTAMPTZ(3) NOT NULL,
  "before" TIMESTAMPTZ(3),
  "selection" "replay_selection" NOT NULL,
  "event_types" TEXT[] NOT NULL,
  "per_second" INTEGER NOT NULL,
  "state" "replay_state" NOT NULL DEFAULT 'running',
  "running_digest" TEXT,
  "total" INTEGER NOT NULL,
  "released" INTEGER NOT NULL DEFAULT 0,
  "position" UUID NOT NULL,
  "resume_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "error" TEXT,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "ended_at" TIMESTAMPTZ(3),
  CONSTRAINT "replays_pkey" PRIMARY KEY ("id"),
  CONSTRAINT "replays_endpoint_id_fkey" FOREIGN KEY ("endpoint_id") REFERENCES "endpoints" ("id") ON DELETE CASCADE ON UPDATE NO ACTION,
  -- One that has ended makes room for the same request to be asked again.
  CONSTRAINT "replays_running_or_ended" CHECK (
    ("state" = 'running') = ("ended_at" IS NULL) AND ("state" = 'running') = ("running_digest" IS NOT NULL))
);
CREATE UNIQUE INDEX "replays_endpoint_id_idempotency_key_key" ON "replays" ("endpoint_id", "idempotency_key");
CREATE UNIQUE INDEX "replays_running_digest_key" ON "replays" ("running_digest");
CREATE INDEX "replays_endpoint_id_id_idx" ON "replays" ("endpoint_id", "id");
CREATE INDEX "replays_state_resume_at_idx" ON "replays" ("state", "resume_at");
