-- One row per customer; the file knows nothing of them but the id.
select user_id as customer_id
from read_csv('thelook_segments.csv', header = true, all_varchar = true)
