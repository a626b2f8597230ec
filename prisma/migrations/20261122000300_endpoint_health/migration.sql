CREATE TYPE "endpoint_health_state" AS ENUM ('closed', 'open', 'half_open');

-- One row for an endpoint that something is wrong with; a healthy endpoint has none.
-- Every claim looks into it, so what it holds back costs a lookup in a table that is small.
CREATE TABLE "endpoint_health" (
  "endpoint_id" UUID NOT NULL,
  "version" UUID NOT NULL,
  "state" "endpoint_health_state" NOT NULL,
  "since" TIMESTAMPTZ(3),
  "reason" TEXT,
  "failing_since" TIMESTAMPTZ(3),
  "failures" INTEGER NOT NULL,
  "window_since" TIMESTAMPTZ(3),
  "window_attempts" INTEGER NOT NULL,
  "window_failures" INTEGER NOT NULL,
  "openings" INTEGER NOT NULL,
  "probe_at" TIMESTAMPTZ(3),
  "release_limit" INTEGER NOT NULL,
  "released" INTEGER NOT NULL,
  "released_through" UUID,
  "fresh_after" UUID,
  CONSTRAINT "endpoint_health_pkey" PRIMARY KEY ("endpoint_id"),
  CONSTRAINT "endpoint_health_endpoint_id_fkey" FOREIGN KEY ("endpoint_id") REFERENCES "endpoints" ("id") ON DELETE CASCADE ON UPDATE NO ACTION,
  -- Whatever holds deliveries back has a time at which it is looked at again.
  CONSTRAINT "endpoint_health_probed" CHECK ("state" = 'closed' OR "probe_at" IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX "endpoint_health_probe_at_idx" ON "endpoint_health" ("probe_at");
