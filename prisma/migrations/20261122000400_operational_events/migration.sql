-- What Posthorn has to say of itself, until it was accepted as messages: an outbox. Each row is written in
-- the statement that makes what it tells, and only where an endpoint subscribes to it.
CREATE TABLE "operational_events" (
  "id" UUID NOT NULL,
  "type" TEXT NOT NULL,
  "owner_id" UUID NOT NULL,
  "data" JSON NOT NULL,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT "operational_events_pkey" PRIMARY KEY ("id")
);

-- In the catalogue like any other, so that endpoints can subscribe to them. The names are reserved:
-- packages/contracts/src/operational-event.ts.
INSERT INTO "event_types" ("name", "description") VALUES
  ('endpoint.disabled', 'Posthorn disabled an endpoint: it answered 410, or did nothing but fail for days.'),
  ('endpoint.failing', 'An endpoint fails, and its deliveries wait. Said once, until it recovers.'),
  ('endpoint.recovered', 'An endpoint that was failing takes deliveries again, or one that Posthorn disabled was enabled.'),
  ('message.exhausted', 'A delivery is dead: its last attempt failed.')
ON CONFLICT ("name") DO UPDATE SET "description" = excluded."description", "updated_at" = CURRENT_TIMESTAMP;
