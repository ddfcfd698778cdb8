-- The rejected rows kept are exactly those that were counted (contacts are kept in the people database).
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Run the cleaning again; a rejected row must keep its values and its rule.
with kept as (
    select
        table_name,
        count(*) as kept_rows
    from quality.rejected_rows
    group by table_name
)

select
    a.table_name,
    a.rejected_rows,
    coalesce(k.kept_rows, 0) as kept_rows
from quality.row_accounting as a
left join kept as k on a.table_name = k.table_name
where a.table_name <> 'contacts' and a.rejected_rows <> coalesce(k.kept_rows, 0)
