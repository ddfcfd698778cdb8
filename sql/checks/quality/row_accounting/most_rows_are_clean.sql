-- More than half of a table rejected is more often a wrong mapping than bad data.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: Look at quality.rejected_rows by rule; a single rule with most rows points at the mapping of its column.
select
    table_name,
    rejected_rows,
    raw_rows
from quality.row_accounting
where 2 * rejected_rows > raw_rows
