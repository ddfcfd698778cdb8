-- What a campaign caused in a taste segment: the campaign's own result, where nearly everybody of it is of one taste.
-- Only results that may be stated as caused are here: of campaigns sent from here, with people left out at random, by
-- the metric fixed before sending, read after the window has ended. They are told whatever they turned out to be. The
-- exploratory rows of results.segment_results are not used, and there is no row by stage, which an audience has several
-- of, nor for T0, where the taste is unknown.
-- grain: campaign_id
-- column axis: Always taste.
-- column segment_id: The taste segment of the plan; a campaign whose plan's segments were not kept has no row.
-- column name: The campaign's name.
-- column segment_share: Share of those written to or left out who were in the segment then; at least 0.8.
-- column treated_customers: Customers who were assigned to be written to.
-- column control_customers: Customers who were left out at random.
-- column treated_buyers: Those written to who bought in the window.
-- column control_buyers: Those left out who bought in the window.
-- column effect: Share of buyers among those written to, less that among those left out.
-- column low: Lower end of the 95 % interval of the effect.
-- column high: Upper end of that interval.
-- column decision: What the result decides about the campaign.
-- column window_ends_at: When the window ended in which orders count (UTC).
-- column is_newest: True for the campaign of the segment whose window ended last; profiles tell of that one.
with tastes as (
    select
        campaign_id,
        taste_segment_id,
        count(*) as customers,
        sum(count(*)) over (partition by campaign_id) as assigned_customers
    from results.campaign_customers
    where origin = 'sent'
        and arm <> 'hold_out'
    group by campaign_id, taste_segment_id
),

measured as (
    select
        r.campaign_id,
        v.name,
        r.treated_customers,
        r.control_customers,
        cast(round(r.treated_value * r.treated_customers) as bigint) as treated_buyers,
        cast(round(r.control_value * r.control_customers) as bigint) as control_buyers,
        r.effect,
        r.low,
        r.high,
        v.decision,
        v.window_ends_at
    from results.campaign_results as r
    inner join results.campaign_verdicts as v on v.campaign_id = r.campaign_id
    where r.is_primary
        and r.metric = 'buyers'
        and r.origin = 'sent'
        and r.is_experiment
        and not r.is_aa
        and not r.is_early_look
        and r.effect is not null
)

select
    m.campaign_id,
    'taste' as axis,
    t.taste_segment_id as segment_id,
    m.name,
    round(t.customers / t.assigned_customers, 6) as segment_share,
    m.treated_customers,
    m.control_customers,
    m.treated_buyers,
    m.control_buyers,
    m.effect,
    m.low,
    m.high,
    m.decision,
    m.window_ends_at,
    row_number() over (partition by t.taste_segment_id order by m.window_ends_at desc, m.campaign_id desc) = 1
        as is_newest
from measured as m
inner join tastes as t on t.campaign_id = m.campaign_id
where t.taste_segment_id <> 'T0'
    and t.customers >= 0.8 * t.assigned_customers
order by m.window_ends_at, m.campaign_id
