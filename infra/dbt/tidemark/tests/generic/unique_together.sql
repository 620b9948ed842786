{# Columns that are unique together; nulls are equal here. #}
{% test unique_together(model, columns) %}
select {{ columns | join(', ') }}, count() as found
from {{ model }}
group by {{ columns | join(', ') }}
having count() > 1
{% endtest %}
