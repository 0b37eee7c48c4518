"""What of the inventory the policy may know."""

from bento.host.model.domain import DomainClass
from bento.host.model.inventory import DomainRecord
from bento.host.policy.world import DomainFacts
from bento.wire.names import DomainName, FeatureName

INTERNAL = FeatureName("internal")
"""The field's: set to anything on domains that a person need not see."""


def facts(record: DomainRecord, running: bool) -> DomainFacts:
    domain, properties = record.domain, record.properties
    default_dispvm = properties.get("default_dispvm")
    return DomainFacts(
        klass=domain.klass,
        tags=record.tags,
        uuid=domain.uuid,
        running=running,
        internal=bool(record.features.get(INTERNAL)),
        template_for_dispvms=properties.get("template_for_dispvms") == "True",
        default_dispvm=DomainName(default_dispvm) if default_dispvm else None,
        base=domain.template if domain.klass is DomainClass.DISPOSABLE else None,
    )
