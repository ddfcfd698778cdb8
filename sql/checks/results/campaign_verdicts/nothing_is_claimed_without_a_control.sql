-- Repeat and stop are said of experiments only, whose groups are as planned; never of association, and never of an A/A
-- trial.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: Look at the campaign's arms in results.campaign_customers; the rule is measurement/decision.py.
select campaign_id, decision, is_experiment, sample_ratio_p_value
from results.campaign_verdicts
where decision in ('repeat', 'stop')
    and (
        not is_experiment
        or is_aa
        or control_customers = 0
        or coalesce(sample_ratio_p_value, 1) < 0.001
    )
order by campaign_id
