-- No profile advises pressure that nothing supports, makes a promise nobody can keep, or holds an e-mail address.
-- group: business
-- severity: error
-- blocking: no
-- remedy: reword the text; urgency needs a real end date, and people's addresses have no place here.
select axis, segment_id, message, objective, best_offer
from profiles.segment_profiles
where regexp_matches(
        concat_ws(' ', objective, message, best_offer, how),
        '(?i)\b(hurry|flash sale|last chance|act now|act fast|today only|guaranteed?|risk-free|cheapest)\b|!!')
   or regexp_matches(concat_ws(' ', name, who, what, how, message, best_offer), '\S+@\S+\.\S')
