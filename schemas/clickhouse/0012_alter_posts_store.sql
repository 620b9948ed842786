-- Posts by target, for a target whose post lets it go while another one lists it too. Views and copies don't see the
-- column; parts of before compute it when asked, until they are merged.
ALTER TABLE posts_store ${on_cluster} ADD COLUMN IF NOT EXISTS target_ids Array(String)
    MATERIALIZED JSONExtract(targets, 'Array(Tuple(target_id String))').target_id COMMENT 'The post''s targets.';

ALTER TABLE posts_store ${on_cluster} ADD INDEX IF NOT EXISTS by_target target_ids TYPE bloom_filter(0.01) GRANULARITY 1;
