-- What did each campaign earn, and what is to be done next?
-- The answer has one row per campaign, the newest first: how many more of those written to bought than of those left
-- out at random, between which bounds, and what was decided. An effect is null where nobody was left out or the groups
-- are not as planned; where is_experiment is false a difference is association, not what the campaign caused.
-- grain: campaign_id
-- column campaign_id: The campaign.
-- column name: Its name.
-- column origin: sent, from here, or past, found in the source.
-- column started_on: First day of its window.
-- column treated_customers: Customers assigned to be written to.
-- column control_customers: Customers left out at random.
-- column treated_share: Share of the treated who bought in the window.
-- column control_share: Share of those left out who did.
-- column effect: The first less the second; 0.01 is one buyer more per hundred customers.
-- column low: Lower end of its 95 % interval.
-- column high: Upper end of its 95 % interval.
-- column additional_buyers: The effect times the treated: buyers there would not have been.
-- column click_share: Share of the delivered (past campaigns: of the treated) who clicked.
-- column is_experiment: True when somebody was left out at random.
-- column is_early_look: True when the window had not ended.
-- column decision: What follows by the metric fixed before sending.
-- column sentence: The same in words.
select
    v.campaign_id,
    v.name,
    v.origin,
    cast(v.started_at as date) as started_on,
    v.treated_customers,
    v.control_customers,
    round(b.treated_value, 6) as treated_share,
    round(b.control_value, 6) as control_share,
    round(b.effect, 6) as effect,
    round(b.low, 6) as low,
    round(b.high, 6) as high,
    round(b.effect * v.treated_customers, 1) as additional_buyers,
    round(k.treated_value, 6) as click_share,
    v.is_experiment,
    v.is_early_look,
    v.decision,
    v.sentence
from results.campaign_verdicts as v
left join results.campaign_results as b
    on b.campaign_id = v.campaign_id and b.arm = 'treated' and b.metric = 'buyers'
left join results.campaign_results as k
    on k.campaign_id = v.campaign_id and k.arm = 'treated' and k.metric = 'clicks'
order by v.started_at desc, v.campaign_id
