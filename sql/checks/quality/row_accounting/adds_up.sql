-- Raw rows are clean rows plus rejected rows, for every table.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Run the cleaning of that table again; rows must never vanish.
select
    table_name,
    raw_rows,
    clean_rows,
    rejected_rows
from quality.row_accounting
where raw_rows <> clean_rows + rejected_rows or repaired_rows > clean_rows or repaired_rows < 0
