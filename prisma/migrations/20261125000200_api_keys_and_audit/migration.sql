-- What a key may do, and for whom: a key of the role owner is for one owner, and no other key is.
ALTER TABLE "api_keys"
  ADD CONSTRAINT "api_keys_role" CHECK ("role" IN ('admin', 'emit', 'read', 'owner')),
  ADD CONSTRAINT "api_keys_owner" CHECK (("role" = 'owner') = ("owner_id" IS NOT NULL));
CREATE INDEX "api_keys_owner_id_idx" ON "api_keys" ("owner_id");

-- Who changed what, when, from where. No foreign keys: it outlives what it is about.
CREATE TABLE "audit_log" (
  "id" UUID NOT NULL,
  "at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  "actor" TEXT NOT NULL,
  "actor_name" TEXT,
  "actor_owner_id" UUID,
  "address" TEXT,
  "method" TEXT NOT NULL,
  "route" TEXT NOT NULL,
  "owner_id" UUID,
  "resource" TEXT NOT NULL,
  "resource_id" TEXT,
  "members" TEXT[],
  "status" SMALLINT,
  "request_id" UUID,
  CONSTRAINT "audit_log_pkey" PRIMARY KEY ("id")
);
CREATE INDEX "audit_log_owner_id_id_idx" ON "audit_log" ("owner_id", "id");
CREATE INDEX "audit_log_actor_id_idx" ON "audit_log" ("actor", "id");

-- Rows are added and nothing else, whoever asks. A superuser can drop the trigger; nothing here does.
CREATE FUNCTION "audit_log_append_only"() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'audit_log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER "audit_log_append_only" BEFORE UPDATE OR DELETE OR TRUNCATE ON "audit_log"
  FOR EACH STATEMENT EXECUTE FUNCTION "audit_log_append_only"();

-- Random bytes that all processes share, made by the first that needs them.
CREATE TABLE "shared_secrets" (
  "name" TEXT NOT NULL,
  "secret" BYTEA NOT NULL,
  "created_at" TIMESTAMPTZ(3) NOT NULL DEFAULT CURRENT_TIMESTAMP,
  CONSTRAINT "shared_secrets_pkey" PRIMARY KEY ("name")
);
