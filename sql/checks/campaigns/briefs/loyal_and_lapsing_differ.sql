-- Loyal customers do not get the discount meant to win back those who are lapsing: it would be margin given away.
-- (A discount that a person chose for a product makes a brief whose id names it; that one is the person's to judge.)
-- group: business
-- severity: error
-- blocking: no
-- remedy: set different discounts for the stage groups in the campaign settings.
select loyal.brief_id, lapsing.brief_id as lapsing_brief_id, loyal.discount_share
from campaigns.briefs as loyal
inner join campaigns.briefs as lapsing
    on regexp_matches(lapsing.brief_id, '-(lapsing|lapsed)(-adults)?$')
    and loyal.discount_share >= lapsing.discount_share
where regexp_matches(loyal.brief_id, '-loyal(-adults)?$')
