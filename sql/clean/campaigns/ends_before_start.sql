-- A campaign cannot end before it starts.
-- detail: ends_on is before starts_on.
select c._row_id
from temp.campaigns as c
where c.ends_on < c.starts_on
