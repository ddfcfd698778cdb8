-- Whether each customer may and can be reached by marketing e-mail. The customers are those known by the as-of date:
-- signed up by then (or on a day nobody recorded), or already a buyer by then. Who unsubscribed or complained after
-- giving consent has no consent any more. Who does not want to be profiled is not reached either, because every campaign's
-- audience is chosen by profiling. Age is judged by birth year alone, on the safe side; what an unknown age counts
-- as is a setting (features.age_rule).
-- grain: customer_id
-- column has_consent: True when the customer agreed to marketing e-mail by the as-of date and has not unsubscribed or complained since.
-- column has_valid_email: True when a well-formed address is on file; false when the source has no contacts.
-- column is_email_shared: True when another customer has the same address: whose consent counts is not known, so neither is written to.
-- column has_unsubscribed: True when the customer unsubscribed or complained by the as-of date and did not consent again.
-- column is_minor: True when the as-of year minus the birth year is 18 or less; when the age is unknown, what the setting says.
-- column is_age_known: True when the birth year is known.
-- column is_adult: True when the birth year is known and the customer is no minor.
-- column is_opted_out: True when the customer does not want to be profiled (features.profiling_opt_outs).
-- column is_reachable: True with consent, a valid address no other customer has, no minor, and not opted out of profiling.
with refusals as (
    select
        customer_id,
        max(occurred_at) as refused_at,
        bool_or(occurred_at is null) as is_undated
    from clean.campaign_responses
    where kind in ('unsubscribe', 'complaint')
        and (occurred_at is null or cast(occurred_at as date) <= cast($as_of as date))
    group by customer_id
),

facts as (
    select
        c.customer_id,
        coalesce(c.email_consent, false)
            and (c.email_consent_at is null or cast(c.email_consent_at as date) <= cast($as_of as date))
            as has_given_consent,
        r.customer_id is not null
            and (r.is_undated or c.email_consent_at is null or r.refused_at >= c.email_consent_at
                or cast(c.email_consent_at as date) > cast($as_of as date))
            as has_unsubscribed,
        coalesce(f.has_valid_email, false) as has_valid_email,
        coalesce(f.is_email_shared, false) as is_email_shared,
        c.birth_year is not null as is_age_known,
        coalesce(year(cast($as_of as date)) - c.birth_year <= 18, rule.unknown_age_is_minor) as is_minor,
        c.customer_id in (select customer_id from features.profiling_opt_outs) as is_opted_out
    from clean.customers as c
    cross join features.age_rule as rule
    left join clean.contact_flags as f on f.customer_id = c.customer_id
    left join refusals as r on r.customer_id = c.customer_id
    where c.signed_up_at is null
        or cast(c.signed_up_at as date) <= cast($as_of as date)
        or c.customer_id in (select customer_id from features.order_lines)
)

select
    customer_id,
    has_given_consent and not has_unsubscribed as has_consent,
    has_valid_email,
    is_email_shared,
    has_unsubscribed,
    is_minor,
    is_age_known,
    is_age_known and not is_minor as is_adult,
    is_opted_out,
    has_given_consent and not has_unsubscribed and has_valid_email and not is_email_shared and not is_minor
        and not is_opted_out as is_reachable
from facts
order by customer_id
