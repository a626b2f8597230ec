-- A retry policy is a list of waits or an exponential one: RetryPolicy in packages/contracts/src/retry-policy.ts.
-- Null: the platform's, as an empty list was.
ALTER TABLE "endpoints" ADD COLUMN "retry_policy" JSONB;
UPDATE "endpoints" SET "retry_policy" = jsonb_build_object('delaysMs', to_jsonb("retry_delays_ms"))
WHERE cardinality("retry_delays_ms") > 0;
ALTER TABLE "endpoints" DROP COLUMN "retry_delays_ms";
