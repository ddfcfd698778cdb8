-- One row of flags per customer, all flags known, and a valid address only where there is one.
-- group: contract
-- severity: error
-- blocking: yes
-- remedy: Clean the contacts again.
select customer_id
from clean.contact_flags
group by customer_id
having
    count(*) > 1 or bool_or(has_email is null or has_valid_email is null or is_email_shared is null)
    or bool_or(has_valid_email and not has_email) or bool_or(is_email_shared and not has_valid_email)
