"""Settings of the service that gives donors, specimens and samples their ids."""

from typing import Self

from pydantic import Field, SecretStr, model_validator

from runtime_grpc.identity_provider import address_problem
from runtime_grpc.settings import ServiceSettings
from song_grpc.domain import url_templates
from song_grpc.domain.entity_ids import IdentifiedKind
from song_grpc.gateways.http_ids import HttpIds
from song_grpc.gateways.id_service_tokens import ClientCredentials

_PLACES = ("studyId", "submitterId")


class IdServiceSettings(ServiceSettings):
    """What Song can be told about the id service."""

    id_service_donor_url: str = Field(
        "", description="where ids of donors come from, with {studyId} and {submitterId}; empty: Song derives all ids"
    )
    id_service_specimen_url: str = Field("", description="the same for specimens")
    id_service_sample_url: str = Field("", description="the same for samples")
    id_service_token: SecretStr = Field(SecretStr(""), description="bearer token sent to the id service")
    id_service_token_url: str = Field("", description="where Song gets such tokens in its own name, instead")
    id_service_client_id: str = Field("", description="Song's name there")
    id_service_client_secret: SecretStr = Field(SecretStr(""), description="belongs to id_service_client_id")
    id_service_scope: str = Field("", description="scope to ask for there; empty: none")

    @model_validator(mode="after")
    def _id_service_complete(self) -> Self:
        """Refuse what would only be found out by the first submission."""
        templates = self._templates
        if any(templates.values()) and not all(templates.values()):
            raise ValueError("id_service_donor_url, id_service_specimen_url and id_service_sample_url belong together")
        token, secret = self.id_service_token.get_secret_value(), self.id_service_client_secret.get_secret_value()
        granted = (self.id_service_token_url, self.id_service_client_id, secret)
        if any(granted) and not all(granted):
            raise ValueError("id_service_token_url, _client_id and _client_secret belong together")
        if self.id_service_scope and not all(granted):
            raise ValueError("id_service_scope belongs to id_service_token_url, which is empty")
        if token and all(granted):
            raise ValueError("give id_service_token or id_service_token_url, not both")
        if (token or all(granted)) and not any(templates.values()):
            raise ValueError("a token of the id service is given, and no id_service_donor_url")
        if not (token.isascii() and (token.isprintable() or not token)):
            raise ValueError("id_service_token: give printable ASCII characters")
        for kind, template in templates.items():
            if template:
                problem = url_templates.problem(template, _PLACES)
                # What is sent without a secret may go anywhere.
                allow_http = self.allow_insecure or not (token or all(granted))
                problem = problem or address_problem(template, allow_http=allow_http)
                if problem:
                    raise ValueError(f"id_service_{kind.value}_url: {problem}")
        if all(granted):
            problem = address_problem(self.id_service_token_url, allow_http=self.allow_insecure)
            if problem:
                raise ValueError(f"id_service_token_url: {problem}")
        return self

    @property
    def _templates(self) -> dict[IdentifiedKind, str]:
        return {
            IdentifiedKind.DONOR: self.id_service_donor_url,
            IdentifiedKind.SPECIMEN: self.id_service_specimen_url,
            IdentifiedKind.SAMPLE: self.id_service_sample_url,
        }

    def entity_ids(self) -> HttpIds | None:
        """Return a new client of the id service, to be closed; None where Song derives ids itself."""
        if not self.id_service_donor_url:
            return None
        if not self.id_service_token_url:
            return HttpIds(self._templates, self.id_service_token.get_secret_value())
        secret = self.id_service_client_secret.get_secret_value()
        credentials = ClientCredentials(
            self.id_service_token_url, self.id_service_client_id, secret, self.id_service_scope
        )
        return HttpIds(self._templates, credentials)
