-- Signing secrets and secret header values are kept encrypted, under a key of their owner's that is kept
-- encrypted itself, under a master key that the database never sees (packages/store/src/vault.ts).
CREATE TABLE "owner_keys" (
  "owner_id" UUID NOT NULL,
  "wrapped" BYTEA NOT NULL,
  "master_key_id" TEXT NOT NULL,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT "owner_keys_pkey" PRIMARY KEY ("owner_id"),
  CONSTRAINT "owner_keys_owner_id_fkey" FOREIGN KEY ("owner_id") REFERENCES "owners" ("id") ON DELETE RESTRICT ON UPDATE NO ACTION
);
-- Which master keys are in use is asked at every start.
CREATE INDEX "owner_keys_master_key_id_idx" ON "owner_keys" ("master_key_id");

-- "secret" holds what was stored before; the program seals it at its next start and leaves nothing there.
ALTER TABLE "endpoint_secrets"
  ADD COLUMN "sealed" BYTEA,
  ALTER COLUMN "secret" DROP NOT NULL,
  ADD CONSTRAINT "endpoint_secrets_plain_or_sealed" CHECK (("secret" IS NULL) <> ("sealed" IS NULL));

-- Name to base64 of the sealed value; those that are not secret stay in "headers".
ALTER TABLE "endpoints" ADD COLUMN "secret_headers" JSONB NOT NULL DEFAULT '{}';
