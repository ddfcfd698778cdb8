-- The privacy wall stopped a request: something in the tables reached a text that must hold no personal data.
-- group: business
-- severity: warning
-- blocking: no
-- remedy: look at the names of products, brands and categories that the named item uses, and clean them in the source.
select call_id, task, item, error
from language.model_calls
where status = 'blocked'
