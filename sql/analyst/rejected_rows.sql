-- How were rows of my data rejected, and by which rule?
-- The answer has one row per table and broken rule, the most frequent first, beside the rows the table came with. The
-- rows themselves, with their values, are in quality.rejected_rows. A table without rejections is not in the answer.
-- grain: table_name, rule
-- column table_name: The table of the raw contract.
-- column rule: The rule the rows broke; parent_rejected means the row itself is fine and the row it belongs to is not.
-- column rejected_rows: Rows that broke it.
-- column raw_rows: Rows the table came with.
-- column rejected_share: The first over the second, 0 to 1.
-- column example_key: Key of one such row.
-- column example_detail: What was wrong with that row, in words.
with broken as (
    select
        table_name,
        rule,
        count(*) as rejected_rows,
        min(row_key) as example_key
    from quality.rejected_rows
    group by table_name, rule
),

examples as (
    select table_name, rule, row_key, min(detail) as detail
    from quality.rejected_rows
    group by table_name, rule, row_key
)

select
    b.table_name,
    b.rule,
    b.rejected_rows,
    a.raw_rows,
    round(b.rejected_rows / nullif(a.raw_rows, 0), 6) as rejected_share,
    b.example_key,
    e.detail as example_detail
from broken as b
left join quality.row_accounting as a on a.table_name = b.table_name
left join examples as e
    on e.table_name = b.table_name and e.rule = b.rule and e.row_key is not distinct from b.example_key
order by b.rejected_rows desc, b.table_name, b.rule
