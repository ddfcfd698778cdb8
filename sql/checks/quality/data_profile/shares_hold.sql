-- Counts of a column fit its table: no more nulls or outliers than rows.
-- group: business
-- severity: error
-- blocking: no
-- remedy: Run the profile again after cleaning.
select
    table_name,
    column_name,
    row_count,
    null_count,
    outlier_count
from quality.data_profile
where null_count > row_count or outlier_count > row_count or null_share not between 0 and 1
