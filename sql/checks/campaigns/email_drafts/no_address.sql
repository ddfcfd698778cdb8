-- No draft holds anybody's e-mail address: people are merge fields until a message is sent.
-- group: business
-- severity: error
-- blocking: yes
-- remedy: take the address out; contact details are in the people database only.
select draft_id
from campaigns.email_drafts
where contains(subject, '@') or contains(preheader, '@') or contains(call_to_action, '@')
   or contains(body_text, '@')
   or regexp_matches(body_html, '[^\s<>"]+@[^\s<>"]+\.\w')
