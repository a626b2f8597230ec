-- Keys are UUIDv7, so a key's range is a range of time: messages, deliveries and attempts are
-- partitioned by the day of an id, and an id finds its partition by itself.
-- The daily partitions are made ahead of need by the program (packages/store/src/partitions.ts).

CREATE TABLE "owners" (
  "id" UUID NOT NULL,
  "uid" TEXT,
  "name" TEXT,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "deleted_at" TIMESTAMPTZ(3),
  CONSTRAINT "owners_pkey" PRIMARY KEY ("id")
);
CREATE UNIQUE INDEX "owners_uid_key" ON "owners" ("uid");

CREATE TABLE "event_types" (
  "name" TEXT NOT NULL,
  "description" TEXT,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT "event_types_pkey" PRIMARY KEY ("name")
);

CREATE TABLE "endpoints" (
  "id" UUID NOT NULL,
  "owner_id" UUID NOT NULL,
  "uid" TEXT,
  "url" TEXT NOT NULL,
  "description" TEXT,
  "event_types" TEXT[],
  "headers" JSONB NOT NULL DEFAULT '{}',
  "in_flight_max" INTEGER,
  "attempt_timeout_ms" INTEGER,
  "retry_delays_ms" INTEGER[] DEFAULT ARRAY[]::INTEGER[],
  "disabled_at" TIMESTAMPTZ(3),
  "disabled_reason" TEXT,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "updated_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "deleted_at" TIMESTAMPTZ(3),
  CONSTRAINT "endpoints_pkey" PRIMARY KEY ("id"),
  CONSTRAINT "endpoints_owner_id_fkey" FOREIGN KEY ("owner_id") REFERENCES "owners" ("id") ON DELETE RESTRICT ON UPDATE NO ACTION
);
CREATE INDEX "endpoints_owner_id_id_idx" ON "endpoints" ("owner_id", "id");
CREATE UNIQUE INDEX "endpoints_owner_id_uid_key" ON "endpoints" ("owner_id", "uid");

CREATE TABLE "endpoint_secrets" (
  "id" UUID NOT NULL,
  "endpoint_id" UUID NOT NULL,
  "secret" BYTEA NOT NULL,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "expires_at" TIMESTAMPTZ(3),
  CONSTRAINT "endpoint_secrets_pkey" PRIMARY KEY ("id"),
  CONSTRAINT "endpoint_secrets_endpoint_id_fkey" FOREIGN KEY ("endpoint_id") REFERENCES "endpoints" ("id") ON DELETE CASCADE ON UPDATE NO ACTION
);
CREATE INDEX "endpoint_secrets_endpoint_id_idx" ON "endpoint_secrets" ("endpoint_id");

CREATE TABLE "api_keys" (
  "id" UUID NOT NULL,
  "name" TEXT NOT NULL,
  "hash" BYTEA NOT NULL,
  "role" TEXT NOT NULL DEFAULT 'admin',
  "owner_id" UUID,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "expires_at" TIMESTAMPTZ(3),
  "last_used_at" TIMESTAMPTZ(3),
  "revoked_at" TIMESTAMPTZ(3),
  CONSTRAINT "api_keys_pkey" PRIMARY KEY ("id"),
  CONSTRAINT "api_keys_owner_id_fkey" FOREIGN KEY ("owner_id") REFERENCES "owners" ("id") ON DELETE RESTRICT ON UPDATE NO ACTION
);
CREATE UNIQUE INDEX "api_keys_hash_key" ON "api_keys" ("hash");

-- No foreign keys from here on: the rows are written in the same statement as what they refer to,
-- a check would cost a lookup on each, and retention drops whole partitions.
CREATE TABLE "messages" (
  "id" UUID NOT NULL,
  "owner_id" UUID NOT NULL,
  "event_type" TEXT NOT NULL,
  "timestamp" TIMESTAMPTZ(3) NOT NULL,
  "deliveries" INTEGER NOT NULL,
  "payload" BYTEA NOT NULL,
  CONSTRAINT "messages_pkey" PRIMARY KEY ("id")
) PARTITION BY RANGE ("id");
CREATE INDEX "messages_owner_id_id_idx" ON "messages" ("owner_id", "id");

CREATE TABLE "idempotency_keys" (
  "key" TEXT NOT NULL,
  "message_id" UUID NOT NULL,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT "idempotency_keys_pkey" PRIMARY KEY ("key")
);
CREATE INDEX "idempotency_keys_created_at_idx" ON "idempotency_keys" ("created_at");

CREATE TYPE "delivery_state" AS ENUM ('pending', 'delivered', 'dead', 'cancelled', 'skipped');

CREATE TABLE "deliveries" (
  "id" UUID NOT NULL,
  "state" "delivery_state" NOT NULL,
  "message_id" UUID NOT NULL,
  "endpoint_id" UUID NOT NULL,
  "owner_id" UUID NOT NULL,
  "event_type" TEXT NOT NULL,
  "attempts" SMALLINT NOT NULL DEFAULT 0,
  "due_at" TIMESTAMPTZ(3),
  "wake_at" TIMESTAMPTZ(3),
  "claim" UUID,
  "lease_until" TIMESTAMPTZ(3),
  "ended_at" TIMESTAMPTZ(3),
  CONSTRAINT "deliveries_pkey" PRIMARY KEY ("id", "state"),
  -- Every delivery is terminal or has a due time.
  CONSTRAINT "deliveries_due_or_ended" CHECK (
    CASE WHEN "state" = 'pending'
      THEN "due_at" IS NOT NULL AND "wake_at" IS NOT NULL AND "ended_at" IS NULL
      ELSE "ended_at" IS NOT NULL AND "due_at" IS NULL AND "wake_at" IS NULL AND "claim" IS NULL
    END)
) PARTITION BY LIST ("state");

-- The working set. A claim touches no indexed column, so it stays on its page; rows live for
-- milliseconds, so vacuum goes by a fixed number of dead rows instead of a share of a small table.
CREATE TABLE "deliveries_pending" PARTITION OF "deliveries" FOR VALUES IN ('pending') WITH (
  fillfactor = 70,
  autovacuum_vacuum_scale_factor = 0,
  autovacuum_vacuum_threshold = 5000,
  autovacuum_analyze_scale_factor = 0,
  autovacuum_analyze_threshold = 20000,
  autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX "deliveries_pending_wake_at_idx" ON "deliveries_pending" ("wake_at");
CREATE INDEX "deliveries_pending_endpoint_id_id_idx" ON "deliveries_pending" ("endpoint_id", "id");
CREATE INDEX "deliveries_pending_message_id_idx" ON "deliveries_pending" ("message_id");

-- The log: inserted once, when a delivery ends.
CREATE TABLE "deliveries_ended" PARTITION OF "deliveries"
  FOR VALUES IN ('delivered', 'dead', 'cancelled', 'skipped') PARTITION BY RANGE ("id");
CREATE INDEX "deliveries_ended_owner_id_id_idx" ON "deliveries_ended" ("owner_id", "id");
CREATE INDEX "deliveries_ended_endpoint_id_id_idx" ON "deliveries_ended" ("endpoint_id", "id");
CREATE INDEX "deliveries_ended_message_id_idx" ON "deliveries_ended" ("message_id");
CREATE INDEX "deliveries_ended_undelivered_idx" ON "deliveries_ended" ("state", "id") WHERE "state" <> 'delivered';

CREATE TABLE "attempts" (
  "delivery_id" UUID NOT NULL,
  "number" SMALLINT NOT NULL,
  "id" UUID NOT NULL,
  "started_at" TIMESTAMPTZ(3) NOT NULL,
  "duration_ms" INTEGER NOT NULL,
  "outcome" TEXT NOT NULL,
  "status" SMALLINT,
  "detail" TEXT,
  "timings" JSON,
  "response_headers" JSON,
  "response_body" BYTEA,
  "response_body_truncated" BOOLEAN NOT NULL DEFAULT false,
  CONSTRAINT "attempts_pkey" PRIMARY KEY ("delivery_id", "number")
) PARTITION BY RANGE ("delivery_id");
