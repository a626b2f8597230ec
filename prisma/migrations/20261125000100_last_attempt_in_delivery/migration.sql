-- The attempt that ends a delivery is kept in the delivery's own row of the log. `attempts` has those that were
-- followed by another one, and all of the deliveries that ended before this migration.
--
-- In this order: the two bytes of attempts_before_replay, two, four and eight leave no gap between them.
ALTER TABLE "deliveries"
  ADD COLUMN "status" SMALLINT,
  ADD COLUMN "duration_ms" INTEGER,
  ADD COLUMN "started_at" TIMESTAMPTZ(3),
  ADD COLUMN "outcome" TEXT,
  ADD COLUMN "detail" TEXT,
  ADD COLUMN "timings" JSON,
  ADD COLUMN "response_headers" JSON,
  ADD COLUMN "response_body" BYTEA,
  ADD COLUMN "response_body_truncated" BOOLEAN;

-- An attempt's id follows from its delivery's and its number. A column that is dropped stays a gap in its table,
-- which days made later would not have, and each row would be rearranged on its way into them. So `attempts` is
-- made anew, without gaps, around the days that there are.
ALTER TABLE "attempts" RENAME TO "attempts_before";
ALTER TABLE "attempts_before" RENAME CONSTRAINT "attempts_pkey" TO "attempts_before_pkey";

CREATE TABLE "attempts" (
  "delivery_id" UUID NOT NULL,
  "number" SMALLINT NOT NULL,
  "status" SMALLINT,
  "duration_ms" INTEGER NOT NULL,
  "started_at" TIMESTAMPTZ(3) NOT NULL,
  "outcome" TEXT NOT NULL,
  "detail" TEXT,
  "timings" JSON,
  "response_headers" JSON,
  "response_body" BYTEA,
  "response_body_truncated" BOOLEAN NOT NULL DEFAULT false,
  CONSTRAINT "attempts_pkey" PRIMARY KEY ("delivery_id", "number")
) PARTITION BY RANGE ("delivery_id");

DO $$
DECLARE
  "day" RECORD;
BEGIN
  FOR "day" IN
    SELECT c.oid::regclass AS "name", pg_get_expr(c.relpartbound, c.oid) AS "bounds"
    FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = '"attempts_before"'::regclass
  LOOP
    EXECUTE format('ALTER TABLE "attempts_before" DETACH PARTITION %s', "day"."name");
    EXECUTE format('ALTER TABLE %s DROP COLUMN "id"', "day"."name");
    EXECUTE format('ALTER TABLE "attempts" ATTACH PARTITION %s %s', "day"."name", "day"."bounds");
  END LOOP;
END
$$;

DROP TABLE "attempts_before";

-- Each attempt of each delivery, for whoever wants all of them.
CREATE VIEW "attempts_all" AS
SELECT "delivery_id", "number", "status", "duration_ms", "started_at", "outcome", "detail", "timings",
  "response_headers", "response_body", "response_body_truncated"
FROM "attempts"
UNION ALL
SELECT "id", "attempts", "status", "duration_ms", "started_at", "outcome", "detail", "timings",
  "response_headers", "response_body", coalesce("response_body_truncated", false)
FROM "deliveries_ended" WHERE "outcome" IS NOT NULL;
