-- A message's payload can be taken away while the message and its deliveries stay (packages/store/src/expunge.ts).
ALTER TABLE "messages" ADD COLUMN "expunged_at" TIMESTAMPTZ(3);

-- True: its message was expunged. What a worker still hears of it is not kept, and it is not sent again.
ALTER TABLE "deliveries" ADD COLUMN "expunged" BOOLEAN;
