-- Deliveries a second; null: none is set.
ALTER TABLE "endpoints" ADD COLUMN "rate_limit" INTEGER;

-- Where an endpoint with a rate limit stands. Microseconds, for slots that are less than one apart in milliseconds.
CREATE TABLE "endpoint_pace" (
  "endpoint_id" UUID NOT NULL,
  "next_at" TIMESTAMPTZ(6) NOT NULL DEFAULT now(),
  "parked_until" TIMESTAMPTZ(6),
  "release_at" TIMESTAMPTZ(6),
  "released_through" UUID,
  CONSTRAINT "endpoint_pace_pkey" PRIMARY KEY ("endpoint_id"),
  CONSTRAINT "endpoint_pace_endpoint_id_fkey" FOREIGN KEY ("endpoint_id") REFERENCES "endpoints" ("id") ON DELETE CASCADE ON UPDATE NO ACTION,
  -- Whatever is parked has a time at which more of it is let go.
  CONSTRAINT "endpoint_pace_released" CHECK ("parked_until" IS NULL OR "release_at" IS NOT NULL AND "released_through" IS NOT NULL)
) WITH (fillfactor = 70);
