-- The segments say more than one feature: where one alone reproduces them, a rule on that feature would do.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: Read them as bands of the named feature, or give the axis further features in the settings.
select one_feature, k, sentence
from segments.stage_choice
where one_feature is not null
order by one_feature
