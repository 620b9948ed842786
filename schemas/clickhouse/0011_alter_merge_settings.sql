-- Blocks of some hundred rows, a few a second: a wider base merges each row two times instead of five, for about as many
-- parts (docs/decisions/0017-small-inserts.md). Parts that grow old are merged all the same.
ALTER TABLE raw_events_store ${on_cluster} MODIFY SETTING merge_selector_base = 10;

ALTER TABLE post_snapshots_store ${on_cluster} MODIFY SETTING merge_selector_base = 10;

ALTER TABLE latest_post_metrics_store ${on_cluster} MODIFY SETTING merge_selector_base = 10;

ALTER TABLE post_totals_store ${on_cluster} MODIFY SETTING merge_selector_base = 10;

ALTER TABLE channel_totals_store ${on_cluster} MODIFY SETTING merge_selector_base = 10;
