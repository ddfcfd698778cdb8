-- What is finished has a time and what is not has none; what was sent was tried and not refused, and a ghost was never
-- tried.
-- group: contract
-- severity: error
-- blocking: no
-- remedy: look at the state store: something wrote to it around the outbox.
select send_id, status, finished_at, tries, smtp_code
from delivery.sends
where (status in ('pending', 'claimed')) = (finished_at is not null)
   or (status = 'sent' and (tries < 1 or coalesce(smtp_code, 250) not between 200 and 299))
   or (status = 'ghost' and (tries <> 0 or smtp_code is not null))
