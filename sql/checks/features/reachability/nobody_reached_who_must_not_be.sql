-- Nobody counts as reachable who did not consent by the as-of date, who unsubscribed or complained since, who may be a
-- minor by birth year, or who does not want to be profiled.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Look at email_consent, email_consent_at and birth_year of the customer in clean.customers and at their campaign_responses.
select distinct r.customer_id
from features.reachability as r
inner join clean.customers as c on c.customer_id = r.customer_id
left join clean.campaign_responses as u
    on u.customer_id = r.customer_id
    and u.kind in ('unsubscribe', 'complaint')
    and cast(u.occurred_at as date) <= cast($as_of as date)
where r.is_reachable
    and (
        c.email_consent is not true
        or cast(c.email_consent_at as date) > cast($as_of as date)
        or year(cast($as_of as date)) - c.birth_year <= 18
        or r.customer_id in (select customer_id from features.profiling_opt_outs)
        or (u.customer_id is not null and (c.email_consent_at is null or u.occurred_at >= c.email_consent_at))
    )
order by r.customer_id
