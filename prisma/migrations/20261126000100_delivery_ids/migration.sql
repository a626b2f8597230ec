-- A delivery's id begins with the first 64 bits of its message's id, so that the primary key finds the deliveries
-- of a message (packages/store/src/delivery-ids.ts). Deliveries from before get such ids too, as nothing else
-- would find them any more: the first half of the message's, and what was random in their own.
--
-- A delivery whose message is no longer stored is looked for by nobody, and its new day might not be there.
UPDATE "attempts" AS a
SET "delivery_id" = (left(d."message_id"::text, 19) || right(d."id"::text, 17))::uuid
FROM "deliveries" AS d
WHERE d."id" = a."delivery_id"
  AND (d."state" = 'pending' OR EXISTS (SELECT FROM "messages" AS m WHERE m."id" = d."message_id"));

-- The deliveries that endpoints were let go up to.
UPDATE "endpoint_health" AS h
SET "released_through" = (left(d."message_id"::text, 19) || right(d."id"::text, 17))::uuid
FROM "deliveries" AS d WHERE d."id" = h."released_through";

UPDATE "deliveries" AS d
SET "id" = (left(d."message_id"::text, 19) || right(d."id"::text, 17))::uuid
WHERE d."state" = 'pending' OR EXISTS (SELECT FROM "messages" AS m WHERE m."id" = d."message_id");

-- By their new ids, some may be before the point that a replay has reached. It looks at all again, and what it
-- sent before is not taken a second time.
UPDATE "replays"
SET "position" = (overlay(lpad(to_hex(greatest(0, extract(epoch FROM "after") * 1000)::bigint), 12, '0') PLACING '-' FROM 9 FOR 0)
  || '-0000-0000-000000000000')::uuid
WHERE "state" = 'running' AND "selection" <> 'missing';

DROP INDEX "deliveries_pending_message_id_idx";
DROP INDEX "deliveries_ended_message_id_idx";

-- All deliveries begin here. One with another id, from a program of before, would not be found when its message
-- is expunged.
ALTER TABLE "deliveries_pending" ADD CONSTRAINT "deliveries_pending_id_of_message"
  CHECK (left("id"::text, 19) = left("message_id"::text, 19));
