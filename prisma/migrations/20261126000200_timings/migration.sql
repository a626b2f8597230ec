-- The timings of an attempt are numbers in columns of their own instead of a JSON text. The whole is duration_ms.
DROP VIEW "attempts_all";

ALTER TABLE "deliveries" ADD COLUMN "dns_ms" REAL, ADD COLUMN "connect_ms" REAL, ADD COLUMN "tls_ms" REAL;
ALTER TABLE "attempts" ADD COLUMN "dns_ms" REAL, ADD COLUMN "connect_ms" REAL, ADD COLUMN "tls_ms" REAL;

-- Few opened a connection.
UPDATE "deliveries"
SET "dns_ms" = ("timings" ->> 'dnsMs')::real, "connect_ms" = ("timings" ->> 'connectMs')::real,
  "tls_ms" = ("timings" ->> 'tlsMs')::real
WHERE coalesce("timings" ->> 'dnsMs', "timings" ->> 'connectMs', "timings" ->> 'tlsMs') IS NOT NULL;
UPDATE "attempts"
SET "dns_ms" = ("timings" ->> 'dnsMs')::real, "connect_ms" = ("timings" ->> 'connectMs')::real,
  "tls_ms" = ("timings" ->> 'tlsMs')::real
WHERE coalesce("timings" ->> 'dnsMs', "timings" ->> 'connectMs', "timings" ->> 'tlsMs') IS NOT NULL;

-- The column of the text becomes that of the number that nearly every attempt has: a column that is dropped would
-- stay a gap in these tables, which days made later would not have.
ALTER TABLE "deliveries"
  ALTER COLUMN "duration_ms" TYPE REAL USING coalesce(("timings" ->> 'totalMs')::real, "duration_ms"),
  ALTER COLUMN "timings" TYPE REAL USING ("timings" ->> 'firstByteMs')::real;
ALTER TABLE "attempts"
  ALTER COLUMN "duration_ms" TYPE REAL USING coalesce(("timings" ->> 'totalMs')::real, "duration_ms"),
  ALTER COLUMN "timings" TYPE REAL USING ("timings" ->> 'firstByteMs')::real;
ALTER TABLE "deliveries" RENAME COLUMN "timings" TO "first_byte_ms";
ALTER TABLE "attempts" RENAME COLUMN "timings" TO "first_byte_ms";

CREATE VIEW "attempts_all" AS
SELECT "delivery_id", "number", "status", "duration_ms", "started_at", "outcome", "detail", "dns_ms", "connect_ms",
  "tls_ms", "first_byte_ms", "response_headers", "response_body", "response_body_truncated"
FROM "attempts"
UNION ALL
SELECT "id", "attempts", "status", "duration_ms", "started_at", "outcome", "detail", "dns_ms", "connect_ms",
  "tls_ms", "first_byte_ms", "response_headers", "response_body", coalesce("response_body_truncated", false)
FROM "deliveries_ended" WHERE "outcome" IS NOT NULL;
