-- What an endpoint's TLS connections have of their own, in PEM. The key is sealed as signing secrets are.
ALTER TABLE "endpoints" ADD COLUMN "tls_ca" TEXT, ADD COLUMN "tls_certificate" TEXT, ADD COLUMN "tls_key" BYTEA;
