-- Requests that were counted, where there is no Redis for it. The layout is that of rate-limiter-flexible.
-- Unlogged: after a crash, counting begins anew.
CREATE UNLOGGED TABLE "rate_counts" (
  "key" TEXT NOT NULL,
  "points" INTEGER NOT NULL DEFAULT 0,
  "expire" BIGINT,
  CONSTRAINT "rate_counts_pkey" PRIMARY KEY ("key")
) WITH (fillfactor = 70);
