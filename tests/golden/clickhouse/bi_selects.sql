-- One statement a line, as BI tools and people write them; parameters follow a tab as JSON.
-- Brackets
SELECT count() FROM posts WHERE (likes > 1)
SELECT count() FROM posts WHERE ((likes > 1))
SELECT count() FROM posts WHERE (((likes > 1)) AND ((comments < 50)))
SELECT count(*) FROM posts WHERE (likes > 1) AND (comments < 50) OR (shares = 0)
SELECT count(*) FROM posts WHERE NOT (likes > 10)
SELECT sum((likes)) FROM posts
SELECT (sum(likes)) AS total FROM posts
SELECT (likes) FROM posts ORDER BY (post_id) LIMIT 3
SELECT (likes + comments) * 2 FROM posts ORDER BY post_id LIMIT 3
SELECT likes + (comments * 2) FROM posts ORDER BY post_id LIMIT 3
SELECT (likes + (comments)) - (shares) FROM posts ORDER BY post_id LIMIT 3
SELECT -(likes) FROM posts ORDER BY post_id LIMIT 3
SELECT - (likes - comments) FROM posts ORDER BY post_id LIMIT 3
SELECT (1, 2) = (1, 2), (1), ((1, 2)), tuple(1)
SELECT CASE WHEN (likes > 10) THEN 'many' ELSE 'few' END AS size, count() FROM posts GROUP BY size ORDER BY size
SELECT CASE WHEN ((likes > 10) AND (comments > 1)) THEN (1) WHEN (likes = 0) THEN 2 ELSE (3) END FROM posts ORDER BY post_id LIMIT 5
SELECT CASE platform WHEN 'x' THEN 1 WHEN ('tiktok') THEN 2 ELSE 0 END FROM posts ORDER BY post_id LIMIT 5
SELECT sum(CASE WHEN (platform = 'x') THEN (likes) ELSE 0 END) FROM posts
(SELECT count() FROM posts)
((SELECT count() FROM posts))
SELECT * FROM (SELECT platform, count() AS n FROM posts GROUP BY (platform)) ORDER BY (platform)
SELECT platform FROM posts GROUP BY (platform), (platform = 'x') ORDER BY platform
SELECT platform, count() FROM posts GROUP BY (platform) HAVING (count() > 1) ORDER BY (count()) DESC, (platform) ASC
SELECT p.post_id, a.followers FROM posts AS p JOIN accounts AS a ON (p.account_id = a.account_id) ORDER BY p.post_id LIMIT 5
SELECT count() FROM posts p INNER JOIN accounts a ON ((p.account_id = a.account_id)) WHERE ((a.followers > 10))
SELECT count() FROM posts p LEFT JOIN accounts a ON (p.account_id = a.account_id) AND (p.platform = a.platform)
SELECT count() FROM posts p LEFT OUTER JOIN accounts a USING (account_id)
SELECT count() FROM posts p RIGHT JOIN accounts a USING account_id
SELECT count() FROM posts p FULL OUTER JOIN accounts a ON p.account_id = a.account_id
SELECT count() FROM posts p CROSS JOIN accounts a
SELECT count() FROM posts p, accounts a WHERE (p.account_id = a.account_id)
SELECT count() FROM posts p ANY LEFT JOIN accounts a USING (account_id)
SELECT count() FROM posts p SEMI LEFT JOIN accounts a USING (account_id)
SELECT count() FROM posts p ANTI LEFT JOIN accounts a USING (account_id)
SELECT count() FROM posts p ASOF JOIN accounts a ON p.account_id = a.account_id AND p.captured_at >= a.seen_at
SELECT count() FROM posts p GLOBAL INNER JOIN accounts a USING (account_id)
SELECT count() FROM (posts AS p INNER JOIN accounts AS a ON p.account_id = a.account_id)
SELECT count() FROM posts p JOIN (SELECT account_id FROM accounts WHERE (followers > 10)) a ON (p.account_id = a.account_id)
SELECT count() FROM posts a JOIN posts b ON (a.post_id = b.post_id) JOIN accounts c ON (c.account_id = b.account_id)
-- Common table expressions and subqueries
WITH x AS (SELECT platform, sum(likes) AS s FROM posts GROUP BY platform) SELECT * FROM x ORDER BY platform
WITH x AS (SELECT 1 AS a), y AS (SELECT a + 1 AS b FROM x) SELECT * FROM y
WITH 10 AS least SELECT count() FROM posts WHERE likes > least
WITH (SELECT max(likes) FROM posts) AS most SELECT count() FROM posts WHERE likes = most
WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 5) SELECT sum(n) FROM r
WITH (x -> x * 2) AS twice SELECT twice(likes) FROM posts ORDER BY post_id LIMIT 3
WITH toDate('2026-01-01') AS d SELECT count() FROM posts WHERE captured_at >= d
SELECT count() FROM posts WHERE post_id IN (SELECT post_id FROM posts WHERE (likes > 10))
SELECT count() FROM posts WHERE (post_id) NOT IN (SELECT post_id FROM posts WHERE likes > 10)
SELECT count() FROM posts WHERE (platform, account_id) IN (SELECT platform, account_id FROM accounts)
SELECT count() FROM posts WHERE platform IN ('x', 'tiktok')
SELECT count() FROM posts WHERE platform IN ('x')
SELECT count() FROM posts WHERE (platform IN (('x'), ('tiktok')))
SELECT count() FROM posts WHERE likes = (SELECT max(likes) FROM posts)
SELECT count() FROM posts WHERE EXISTS (SELECT 1 FROM accounts WHERE followers > 10)
SELECT (SELECT count() FROM accounts) AS a, (SELECT count() FROM posts) AS p
SELECT * FROM (SELECT * FROM (SELECT platform FROM posts) AS a) AS b ORDER BY platform LIMIT 2
SELECT t.* FROM (SELECT 1 AS a, 2 AS b) AS t
SELECT `t`.`a` FROM (SELECT 1 AS `a`) AS `t`
SELECT "t"."a b" FROM (SELECT 1 AS "a b") AS "t"
FROM posts SELECT count()
SELECT 1 WHERE 1 IN (SELECT 1)
-- Windows
SELECT post_id, row_number() OVER (PARTITION BY platform ORDER BY likes DESC, post_id) FROM posts ORDER BY post_id LIMIT 5
SELECT post_id, rank() OVER (ORDER BY (likes) DESC) FROM posts ORDER BY post_id LIMIT 5
SELECT post_id, dense_rank() OVER w FROM posts WINDOW w AS (PARTITION BY platform ORDER BY likes) ORDER BY post_id LIMIT 5
SELECT post_id, sum(likes) OVER (ORDER BY post_id ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) FROM posts ORDER BY post_id LIMIT 5
SELECT post_id, avg(likes) OVER (PARTITION BY platform ORDER BY post_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM posts ORDER BY post_id LIMIT 5
SELECT post_id, lagInFrame(likes, 1, 0) OVER (ORDER BY post_id) AS before FROM posts ORDER BY post_id LIMIT 5
SELECT post_id, leadInFrame(likes) OVER (ORDER BY post_id ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM posts ORDER BY post_id LIMIT 5
SELECT post_id, first_value(likes) OVER (PARTITION BY platform ORDER BY post_id) FROM posts ORDER BY post_id LIMIT 5
SELECT post_id, likes - lagInFrame(likes) OVER (PARTITION BY (platform) ORDER BY (post_id)) AS change FROM posts ORDER BY post_id LIMIT 5
SELECT post_id, ntile(4) OVER (ORDER BY post_id) FROM posts ORDER BY post_id LIMIT 5
SELECT platform, sum(sum(likes)) OVER (ORDER BY platform) FROM posts GROUP BY platform ORDER BY platform
SELECT post_id FROM posts QUALIFY row_number() OVER (PARTITION BY platform ORDER BY post_id) = 1 ORDER BY post_id
SELECT count() OVER () FROM posts LIMIT 1
SELECT post_id, sum(likes) OVER (ORDER BY toUInt32(captured_at) RANGE BETWEEN 3600 PRECEDING AND CURRENT ROW) FROM posts ORDER BY post_id LIMIT 4
-- Arrays, maps, tuples, lambdas
SELECT [1, 2, 3][1], [1, 2, 3][-1], (1, 'a').1, (1, 'a').2
SELECT arrayMap(x -> (x + 1), [1, 2, 3]), arrayFilter(x -> (x > 1), [1, 2, 3])
SELECT arrayMap((x, y) -> x + y, [1, 2], [3, 4]), arraySum(x -> x * 2, [1, 2])
SELECT arraySort(x -> -x, [3, 1, 2]), arrayReverse([1, 2]), arrayConcat([1], [2, 3])
SELECT arrayJoin(tags) AS tag, count() FROM posts GROUP BY tag ORDER BY tag
SELECT tag, count() FROM posts ARRAY JOIN tags AS tag GROUP BY tag ORDER BY tag
SELECT post_id, tag, n FROM posts ARRAY JOIN tags AS tag, arrayEnumerate(tags) AS n ORDER BY post_id, n LIMIT 5
SELECT post_id, tag FROM posts LEFT ARRAY JOIN tags AS tag ORDER BY post_id, tag LIMIT 8
SELECT count() FROM posts WHERE (has(tags, 'a'))
SELECT groupArray(post_id) FROM (SELECT post_id FROM posts ORDER BY post_id LIMIT 3)
SELECT groupUniqArray(platform) AS u, arraySort(u) FROM posts WHERE platform = 'x'
SELECT arrayStringConcat(arraySort(groupUniqArray(platform)), ', ') FROM posts
SELECT length(tags), empty(tags), notEmpty(tags) FROM posts ORDER BY post_id LIMIT 3
SELECT meta['lang'] AS lang, count() FROM posts GROUP BY lang ORDER BY lang
SELECT mapKeys(meta), mapValues(meta) FROM posts ORDER BY post_id LIMIT 2
SELECT map('a', 1, 'b', 2)['b']
SELECT tuple(1, 'x') AS t, t.1, tupleElement(t, 2)
SELECT arrayReduce('sum', [1, 2, 3]), arrayCumSum([1, 2, 3]), arrayDifference([1, 4])
SELECT arrayZip([1, 2], ['a', 'b']), range(5), arrayEnumerate(['a', 'b'])
SELECT arrayExists(x -> (x = 2), [1, 2]), arrayAll(x -> x > 0, [1, 2]), arrayFirst(x -> x > 1, [1, 2, 3])
SELECT arrayFold((acc, x) -> acc + x, [1, 2, 3], 0::Int64)
SELECT * FROM (SELECT [1, 2] AS a, [3, 4] AS b) ARRAY JOIN a, b
-- Grouping
SELECT platform, count() FROM posts GROUP BY platform WITH TOTALS ORDER BY platform
SELECT platform, account_id, sum(likes) FROM posts GROUP BY ROLLUP(platform, account_id) ORDER BY platform, account_id
SELECT platform, account_id, sum(likes) FROM posts GROUP BY CUBE(platform, account_id) ORDER BY platform, account_id
SELECT platform, account_id, sum(likes) FROM posts GROUP BY GROUPING SETS ((platform, account_id), (platform), ()) ORDER BY platform, account_id
SELECT platform, sum(likes) FROM posts GROUP BY platform WITH ROLLUP ORDER BY platform
SELECT platform, grouping(platform), count() FROM posts GROUP BY ROLLUP(platform) ORDER BY platform, 2
SELECT platform, count() FROM posts GROUP BY 1 ORDER BY 1
SELECT platform, uniq(post_id), uniqExact(account_id), avg(likes), min(likes), max(likes) FROM posts GROUP BY ALL ORDER BY ALL
SELECT count(DISTINCT platform) FROM posts
SELECT DISTINCT platform FROM posts ORDER BY platform
SELECT DISTINCT ON (platform) platform, post_id FROM posts ORDER BY platform, post_id
SELECT platform, quantile(0.5)(likes), quantiles(0.25, 0.75)(likes), median(likes) FROM posts GROUP BY platform ORDER BY platform
SELECT platform, countIf((likes > 5)), sumIf(likes, (platform = 'x')), avgIf(likes, comments > 1) FROM posts GROUP BY platform ORDER BY platform
SELECT platform, argMax(post_id, likes), argMin(post_id, likes), topK(1)(account_id) FROM posts GROUP BY platform ORDER BY platform
SELECT count(*) FILTER (WHERE likes > 5) FROM posts
SELECT sumMap(map(platform, likes)) FROM posts
SELECT anyLast(platform), any(platform) FROM (SELECT platform FROM posts WHERE platform = 'x')
SELECT corr(likes, comments), stddevPop(likes), varSamp(likes) FROM posts
SELECT groupBitOr(likes), groupArraySorted(3)(likes), groupConcat(',')(platform) FROM (SELECT * FROM posts ORDER BY post_id LIMIT 3)
SELECT platform FROM posts GROUP BY platform HAVING sum(likes) > (SELECT avg(likes) FROM posts) ORDER BY platform
SELECT uniqMerge(s) FROM (SELECT uniqState(post_id) AS s FROM posts GROUP BY platform)
-- Order and limit
SELECT post_id FROM posts ORDER BY likes DESC NULLS LAST, post_id LIMIT 5 OFFSET 2
SELECT post_id FROM posts ORDER BY post_id LIMIT 2, 3
SELECT platform, post_id FROM posts ORDER BY platform, post_id LIMIT 1 BY platform
SELECT platform, post_id FROM posts ORDER BY platform, post_id LIMIT 1 OFFSET 1 BY platform
SELECT post_id FROM posts ORDER BY post_id OFFSET 3 ROWS FETCH FIRST 2 ROWS ONLY
SELECT likes FROM posts ORDER BY likes DESC LIMIT 1 WITH TIES
SELECT post_id FROM posts ORDER BY text COLLATE 'en', post_id LIMIT 3
SELECT toStartOfDay(captured_at) AS d, count() FROM posts GROUP BY d ORDER BY d WITH FILL STEP toIntervalDay(1) LIMIT 9
SELECT n, m FROM (SELECT 1 AS n, 'a' AS m UNION ALL SELECT 4, 'b') ORDER BY n WITH FILL FROM 0 TO 6 STEP 1 INTERPOLATE (m AS m)
SELECT TOP 3 post_id FROM posts ORDER BY post_id
SELECT * FROM posts ORDER BY post_id LIMIT 0
-- Sets
SELECT 1 AS a UNION ALL SELECT 2 AS a ORDER BY a
(SELECT 1 AS a) UNION ALL (SELECT 2)
SELECT 1 UNION DISTINCT SELECT 1
SELECT * FROM (SELECT 1 AS a UNION ALL SELECT 2 UNION ALL SELECT 3) ORDER BY a DESC
SELECT 1 INTERSECT SELECT 1
SELECT 1 EXCEPT SELECT 2
(SELECT 1) UNION DISTINCT ((SELECT 1) EXCEPT (SELECT 2))
SELECT * FROM ((SELECT 1 AS a) UNION ALL (SELECT 2 AS a)) ORDER BY a
-- Dates and intervals
SELECT toStartOfInterval(captured_at, INTERVAL 1 DAY) AS t, count() FROM posts GROUP BY t ORDER BY t
SELECT toStartOfInterval(captured_at, INTERVAL '6' HOUR) AS t, sum(likes) FROM posts GROUP BY t ORDER BY t LIMIT 4
SELECT toDate('2026-01-31') + INTERVAL 1 MONTH, toDate('2026-01-31') - INTERVAL 2 WEEK, toDateTime('2026-01-01 00:00:00', 'UTC') + INTERVAL 90 MINUTE
SELECT DATE '2026-01-01', TIMESTAMP '2026-01-01 10:00:00', DATE('2026-01-01')
SELECT date_trunc('month', captured_at) AS m, count() FROM posts GROUP BY m ORDER BY m
SELECT dateDiff('day', toDate('2026-01-01'), toDate('2026-02-01')), age('hour', toDateTime('2026-01-01 00:00:00'), toDateTime('2026-01-02 00:00:00'))
SELECT EXTRACT(YEAR FROM toDate('2026-03-04')), EXTRACT(MONTH FROM toDate('2026-03-04')), EXTRACT(DAY FROM toDate('2026-03-04'))
SELECT count() FROM posts WHERE captured_at BETWEEN '2026-01-01 00:00:00' AND '2026-01-03 00:00:00'
SELECT count() FROM posts WHERE (captured_at >= toDateTime('2026-01-01 00:00:00')) AND (captured_at < toDateTime('2026-01-02 00:00:00'))
SELECT formatDateTime(toDateTime('2026-01-02 03:04:05'), '%Y-%m-%d %H:%i'), toYYYYMM(toDate('2026-01-02')), toISOWeek(toDate('2026-01-02'))
SELECT toTimeZone(toDateTime('2026-01-01 00:00:00', 'UTC'), 'Europe/Vienna'), parseDateTimeBestEffort('2026-01-01T10:00:00Z')
SELECT DATE_ADD(DAY, 3, toDate('2026-01-01')), DATE_SUB(MONTH, 1, toDate('2026-01-31')), dateAdd(toDate('2026-01-01'), INTERVAL 1 YEAR)
SELECT toUnixTimestamp(toDateTime('2026-01-01 00:00:00')), fromUnixTimestamp(0), toDateTime64('2026-01-01 00:00:00.123', 3)
SELECT INTERVAL 1 DAY + INTERVAL 2 HOUR, (toDate('2026-01-01'), toDate('2026-01-02'))
SELECT toDayOfWeek(captured_at) AS weekday, toHour(captured_at) AS hour, count() FROM posts GROUP BY weekday, hour ORDER BY weekday, hour LIMIT 5
SELECT captured_at::Date AS d, count() FROM posts GROUP BY d ORDER BY d
-- Grafana: macros expanded
SELECT toStartOfInterval(toDateTime(captured_at), INTERVAL 60 second) as time, count(*) FROM posts WHERE ( captured_at >= toDateTime(1767225600) AND captured_at <= toDateTime(1767398400) ) GROUP BY time ORDER BY time LIMIT 5
SELECT (intDiv(toUInt32(captured_at), 3600) * 3600) * 1000 as t, sum(likes) as likes FROM posts WHERE captured_at >= toDateTime(1767225600) AND captured_at <= toDateTime(1767398400) GROUP BY t ORDER BY t
SELECT t, groupArray((platform, c)) AS groupArr FROM (SELECT (intDiv(toUInt32(captured_at), 86400) * 86400) * 1000 AS t, platform, count() AS c FROM posts WHERE (captured_at >= toDateTime(1767225600)) GROUP BY t, platform ORDER BY t, platform) GROUP BY t ORDER BY t
SELECT t, runningDifference(s) / runningDifference(t / 1000) FROM (SELECT (intDiv(toUInt32(captured_at), 3600) * 3600) * 1000 AS t, sum(likes) AS s FROM posts GROUP BY t ORDER BY t) SETTINGS allow_deprecated_error_prone_window_functions = 1	{"skip": "a setting that lifts a guard"}
SELECT toStartOfInterval(captured_at, INTERVAL 1 hour) AS "time", "platform", avg("likes") AS "value" FROM "posts" WHERE ("captured_at" >= fromUnixTimestamp64Milli(1767225600000) AND "captured_at" <= fromUnixTimestamp64Milli(1767312000000)) AND (("platform" IN ('x','tiktok'))) GROUP BY "time", "platform" ORDER BY "time", "platform" ASC LIMIT 1000
SELECT DISTINCT platform AS __text, platform AS __value FROM posts ORDER BY __text
SELECT name FROM system.databases WHERE name = 'tidemark' FORMAT JSON	{"ignore": "statistics"}
SELECT name, type FROM system.columns WHERE database = 'tidemark' AND table = 'posts' ORDER BY position
-- Superset
SELECT toDateTime(toStartOfDay(toDateTime(`captured_at`))) AS `__timestamp`, sum(`likes`) AS `SUM(likes)` FROM `posts` WHERE `captured_at` >= toDateTime('2026-01-01 00:00:00') AND `captured_at` < toDateTime('2026-01-05 00:00:00') GROUP BY toDateTime(toStartOfDay(toDateTime(`captured_at`))) ORDER BY `__timestamp` LIMIT 10000
SELECT `platform` AS `platform`, COUNT(*) AS `count` FROM `tidemark`.`posts` WHERE ((likes > 1)) GROUP BY `platform` ORDER BY `count` DESC, `platform` ASC LIMIT 1000
SELECT * FROM (SELECT platform, likes FROM posts) AS virtual_table WHERE (likes > 3) AND (platform = 'x') ORDER BY likes LIMIT 5
SELECT `platform` AS `platform`, sum(likes)/count(*) AS `ratio` FROM (SELECT * FROM posts WHERE 1 = 1) AS `expr_qry` GROUP BY `platform` HAVING (sum(likes) > 0) ORDER BY `ratio` DESC LIMIT 50000
SELECT COUNT(DISTINCT `account_id`) AS `COUNT_DISTINCT(account_id)` FROM `posts` LIMIT 50000
SELECT min(captured_at), max(captured_at) FROM posts
-- Metabase
SELECT `source`.`platform` AS `platform`, COUNT(*) AS `count` FROM (SELECT `tidemark`.`posts`.`platform` AS `platform` FROM `tidemark`.`posts`) AS `source` GROUP BY `source`.`platform` ORDER BY `source`.`platform` ASC
SELECT toStartOfMonth(toDateTime(`tidemark`.`posts`.`captured_at`)) AS `captured_at`, SUM(`tidemark`.`posts`.`likes`) AS `sum` FROM `tidemark`.`posts` WHERE (`tidemark`.`posts`.`likes` > 0) AND (`tidemark`.`posts`.`platform` = 'x') GROUP BY toStartOfMonth(toDateTime(`tidemark`.`posts`.`captured_at`)) ORDER BY `captured_at` ASC
SELECT count(*) AS "count" FROM "tidemark"."posts" WHERE (("tidemark"."posts"."likes" > 1) OR ("tidemark"."posts"."comments" > 1))
SELECT `posts`.`post_id`, `A`.`followers` AS `A__followers` FROM `posts` LEFT JOIN `accounts` AS `A` ON `posts`.`account_id` = `A`.`account_id` ORDER BY `posts`.`post_id` LIMIT 5
SELECT 'Metabase' /* Metabase:: userID: 1 queryType: native */
-- Tableau, Power BI, DBeaver, dbt
SELECT SUM(1) AS "cnt:ok", "platform" FROM "posts" GROUP BY "platform" ORDER BY "platform"
SELECT {fn UPPER('x')}	{"skip": "an escape of ODBC that its driver replaces"}
SELECT "posts"."platform" AS "platform", SUM("posts"."likes") AS "sum:likes:ok" FROM "posts" "posts" WHERE (("posts"."likes" >= 1) AND ("posts"."likes" <= 99)) GROUP BY "posts"."platform" ORDER BY 1
select `_`.`platform`, sum(cast(`_`.`likes` as Int64)) as `a0` from (select `platform`, `likes` from `posts`) as `_` group by `_`.`platform` order by `_`.`platform` limit 1000001
SELECT x.* FROM posts x WHERE x.platform = 'x' ORDER BY x.post_id LIMIT 0, 3
select platform, count(*) as n from (select * from `tidemark`.`posts` where likes is not null) dbt_internal_test group by platform having count(*) > 1 order by platform
with renamed as (select post_id as id, likes from tidemark.posts), final as (select * from renamed) select count(*) from final
/* ApplicationName=DBeaver 24.0 - Main */ SELECT count() FROM posts
/* a /* nested */ comment */ SELECT count() FROM posts -- and its end
SELECT count() /* in the middle */ FROM posts # not here
-- Text and literals
SELECT 'it''s', 'it\'s', 'a\\b', 'tab\there', "posts"."platform" FROM posts ORDER BY post_id LIMIT 1
SELECT $tag$it's /* no comment */ $tag$, $$ '; DROP TABLE x; -- $$
SELECT 0xff, 1e3, .5, 1., -1, +1, 1_000, 0b101, x'4142', inf, -inf, nan, NULL, true, false
SELECT 18446744073709551615, -9223372036854775808, 3.141592653589793, 0.1 + 0.2, 1e-7, 123456789012345678901234567890
SELECT '2026'::UInt16, CAST('1' AS UInt8), CAST(1, 'String'), toString(1.5), '1.50'::Decimal(9, 2)
SELECT concat('a', 'b'), 'a' || 'b', upper('x'), lower('X'), substring('abc', 2, 1), SUBSTRING('abc' FROM 2 FOR 1), trim(BOTH ' ' FROM ' a '), position('b' IN 'abc')
SELECT count() FROM posts WHERE text LIKE '%5%' AND text NOT LIKE 'z%' AND text ILIKE '%POST%'
SELECT count() FROM posts WHERE match(text, 'post \\d+') AND NOT (text REGEXP '^z')
SELECT replaceRegexpAll('a1b2', '\\d', '#'), extract('a1', '\\d'), splitByChar(',', 'a,b'), format('{}-{}', 'a', 'b')
SELECT 'ü', 'emoji 😀', '日本', length('ü'), lengthUTF8('ü')
SELECT JSONExtractString('{"a": {"b": "c"}}', 'a', 'b'), JSON_VALUE('{"a": 1}', '$.a'), simpleJSONExtractInt('{"a": 1}', 'a')
SELECT 1 AS `select`, 2 AS `from`, 3 AS "a.b", 4 AS `ä`
SELECT 'a' 'b'	{"skip": "no SQL of ClickHouse's"}
-- Conditions and nulls
SELECT if((likes > 5), 'a', 'b'), multiIf(likes > 9, 1, likes > 5, 2, 3), coalesce(reach, 0), ifNull(reach, -1), nullIf(likes, 0) FROM posts ORDER BY post_id LIMIT 5
SELECT count() FROM posts WHERE (reach IS NULL) OR (reach IS NOT NULL AND reach > 3)
SELECT likes > 5 ? 'many' : 'few' FROM posts ORDER BY post_id LIMIT 3
SELECT 1 = 1 AND NOT 1 = 2, (1 OR 0) AND 1, 1 OR (0 AND 1), NOT (1 AND 0), 5 BETWEEN 1 AND 9, 5 NOT BETWEEN 1 AND 9
SELECT 7 DIV 2, 7 MOD 2, 7 % 2, 7 / 2, 2 + 3 * 4, (2 + 3) * 4, 10 - 3 - 2, 10 - (3 - 2), -(-1), 8 / (4 / 2)
SELECT reach <=> NULL FROM posts ORDER BY post_id LIMIT 3
SELECT isNull(reach), assumeNotNull(reach), reach IS DISTINCT FROM 1 FROM posts ORDER BY post_id LIMIT 3
SELECT sum(likes) / nullIf(sum(comments), 0) AS ratio, round((sum(likes) * 100.0) / (sum(likes) + sum(comments)), 2) AS share FROM posts
-- Columns
SELECT * EXCEPT (text, tags, meta) FROM posts ORDER BY post_id LIMIT 2
SELECT * REPLACE (likes * 2 AS likes) FROM posts ORDER BY post_id LIMIT 2
SELECT COLUMNS('^likes|^comments') FROM posts ORDER BY post_id LIMIT 2
SELECT * EXCEPT tags APPLY toString FROM posts ORDER BY post_id LIMIT 2
SELECT COLUMNS(likes, comments) APPLY(sum) FROM posts
SELECT p.* FROM posts AS p ORDER BY p.post_id LIMIT 1
SELECT posts.likes, tidemark.posts.likes FROM tidemark.posts ORDER BY post_id LIMIT 1
-- Sources
SELECT * FROM numbers(3)
SELECT number FROM numbers(2, 3) WHERE (number > 2)
SELECT * FROM values('a UInt8, b String', (1, 'x'), (2, 'y')) ORDER BY a
SELECT * FROM (VALUES (1, 'a'), (2, 'b')) ORDER BY 1
SELECT * FROM generateSeries(1, 5, 2)
SELECT count() FROM posts FINAL	{"skip": "FINAL of a plain MergeTree"}
SELECT count() FROM posts SAMPLE 1	{"skip": "a table without a sampling key"}
SELECT count() FROM posts PREWHERE (likes > 5) WHERE (comments > 1)
SELECT count() FROM totals FINAL WHERE (likes > 0)
SELECT count() FROM merge_view
SELECT * FROM one_row
SELECT count() FROM system.numbers WHERE number < 5 LIMIT 1	{"skip": "reads without an end"}
SELECT table_name FROM information_schema.tables WHERE table_schema = 'tidemark' AND table_name = 'posts'
SELECT TABLE_NAME, COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = 'tidemark' AND TABLE_NAME = 'posts' ORDER BY ORDINAL_POSITION
SELECT currentDatabase(), version() = version(), timezone()
-- Formats, settings and parameters
SELECT post_id, likes FROM posts ORDER BY post_id LIMIT 3 FORMAT CSVWithNames
SELECT post_id, likes FROM posts ORDER BY post_id LIMIT 3 FORMAT TabSeparatedWithNamesAndTypes
SELECT post_id, likes FROM posts ORDER BY post_id LIMIT 3 FORMAT JSONEachRow
SELECT post_id, likes FROM posts ORDER BY post_id LIMIT 3 FORMAT JSONCompactEachRowWithNamesAndTypes
SELECT post_id, likes FROM posts ORDER BY post_id LIMIT 3 FORMAT Values
SELECT post_id, likes FROM posts ORDER BY post_id LIMIT 3 FORMAT Markdown
SELECT post_id, likes FROM posts ORDER BY post_id LIMIT 3 FORMAT RowBinaryWithNamesAndTypes
SELECT post_id, likes FROM posts ORDER BY post_id LIMIT 3 FORMAT Native
SELECT post_id, likes FROM posts ORDER BY post_id LIMIT 3 FORMAT Parquet
SELECT post_id, likes FROM posts ORDER BY post_id LIMIT 3 FORMAT Vertical
SELECT post_id, likes FROM posts ORDER BY post_id LIMIT 3 FORMAT XML	{"ignore": "statistics"}
SELECT post_id, likes FROM posts ORDER BY post_id LIMIT 3 FORMAT JSON	{"ignore": "statistics"}
SELECT count() FROM posts SETTINGS max_threads = 1
SELECT count() FROM posts SETTINGS max_threads = 1, max_execution_time = 30 FORMAT JSONEachRow
SELECT count() FROM posts FORMAT JSONEachRow SETTINGS output_format_json_quote_64bit_integers = 0
SELECT count() FROM posts WHERE (likes > 1) SETTINGS join_use_nulls = 1, max_result_rows = 100, result_overflow_mode = 'break'
SELECT p.post_id, a.followers FROM posts p LEFT JOIN accounts a ON (p.account_id = a.account_id) ORDER BY 1 SETTINGS join_use_nulls = 1
SELECT 1 UNION ALL SELECT 1 SETTINGS max_threads = 1
SELECT {n:UInt64} + 1, {s:String}, {a:Array(UInt8)}	{"params": {"n": "41", "s": "it's", "a": "[1,2]"}}
SELECT count() FROM posts WHERE (likes > {least:UInt32}) AND (platform IN {names:Array(String)})	{"params": {"least": "1", "names": "['x','tiktok']"}}
SELECT {c:Identifier} FROM {t:Identifier} ORDER BY post_id LIMIT 2	{"params": {"c": "likes", "t": "posts"}}
SELECT count() FROM {d:Identifier}.{t:Identifier} WHERE platform = {p:String}	{"params": {"d": "tidemark", "t": "posts", "p": "x"}}
SELECT {day:Date} + INTERVAL 1 DAY, {at:DateTime}	{"params": {"day": "2026-01-01", "at": "2026-01-01 00:00:00"}}
SELECT post_id FROM posts ORDER BY post_id LIMIT {n:UInt8};	{"params": {"n": "2"}}
