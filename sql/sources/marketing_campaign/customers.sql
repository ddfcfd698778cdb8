-- One row per customer. Dt_Customer is written yyyy-mm-dd or dd-mm-yyyy, depending on the dialect; a date that is
-- neither stays as it is, for cleaning to reject. Nothing says who agreed to e-mail, so consent stays unknown.
select
    ID as customer_id,
    Year_Birth as birth_year,
    coalesce(try_strptime(Dt_Customer, ['%Y-%m-%d', '%d-%m-%Y'])::varchar, Dt_Customer) as signed_up_at
from read_csv(getvariable('campaign'), header = true, all_varchar = true)
