-- Text and HTML of every draft hold the unsubscribe link and the postal address.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: keep the footer of the layout in both parts.
select draft_id
from campaigns.email_drafts
where not contains(body_text, '[[unsubscribe_url]]')
   or not contains(body_html, '[[unsubscribe_url]]')
   or not contains(body_text, '[[postal_address]]')
   or not contains(body_html, '[[postal_address]]')
