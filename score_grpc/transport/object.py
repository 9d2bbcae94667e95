"""ObjectService."""

from dataclasses import dataclass

import grpc
from score.v1 import object_service_pb2 as pb
from score.v1.object_service_pb2_grpc import ObjectServiceServicer

from score_grpc.domain.paging import PageRequest
from score_grpc.domain.stored_objects import ObjectFilter
from score_grpc.transport.caller import Callers, call_facts
from score_grpc.transport.messages import moment_filter, object_message, verification_filter
from score_grpc.transport.page_tokens import PageTokens
from score_grpc.use_cases.delete import delete_object
from score_grpc.use_cases.environment import Environment
from score_grpc.use_cases.objects import batch_get_objects, list_objects
from score_grpc.use_cases.read import ReadSession, read_action
from score_grpc.use_cases.verify import VerificationRuns


@dataclass(frozen=True, slots=True)
class ObjectServicer(ObjectServiceServicer):
    """Serves `score.v1.ObjectService`."""

    environment: Environment
    callers: Callers
    verifications: VerificationRuns
    page_tokens: PageTokens

    def GetObject(self, request: pb.GetObjectRequest, context: grpc.ServicerContext) -> pb.GetObjectResponse:
        """Return one object."""
        action = read_action(allow_unpublished=request.allow_unpublished)
        session = ReadSession(self.environment, self.callers.of(context), action, request.object_id)
        return pb.GetObjectResponse(stored_object=object_message(session.stored))

    def BatchGetObjects(
        self, request: pb.BatchGetObjectsRequest, context: grpc.ServicerContext
    ) -> pb.BatchGetObjectsResponse:
        """Return the objects of a batch."""
        action = read_action(allow_unpublished=request.allow_unpublished)
        found = batch_get_objects(self.environment, self.callers.of(context), action, request.object_ids)
        there = {stored.object_id for stored in found}
        return pb.BatchGetObjectsResponse(
            stored_objects=map(object_message, found),
            missing_object_ids=[wanted for wanted in dict.fromkeys(request.object_ids) if wanted not in there],
        )

    def ListObjects(self, request: pb.ListObjectsRequest, context: grpc.ServicerContext) -> pb.ListObjectsResponse:
        """Return a page of objects."""
        bounds = {
            field: moment_filter(field, getattr(request, field)) if request.HasField(field) else None
            for field in ("created_from", "created_before")
        }
        kind = verification_filter(request.verification)
        wanted = ObjectFilter(request.study_id, request.analysis_id, kind, **bounds)
        page = PageRequest(request.page_size, self.page_tokens.open(request.page_token))
        action = read_action(allow_unpublished=request.allow_unpublished)
        found, ended = list_objects(self.environment, self.callers.of(context), action, wanted, page)
        token = self.page_tokens.seal(ended)
        return pb.ListObjectsResponse(stored_objects=map(object_message, found), next_page_token=token)

    def DeleteObject(self, request: pb.DeleteObjectRequest, context: grpc.ServicerContext) -> pb.DeleteObjectResponse:
        """Delete one object."""
        caller = self.callers.of(context)
        stored = delete_object(
            self.environment,
            caller,
            request.object_id,
            request.reason,
            call_facts(context),
            generation=request.generation,
        )
        return pb.DeleteObjectResponse(stored_object=object_message(stored))

    def VerifyObject(self, request: pb.VerifyObjectRequest, context: grpc.ServicerContext) -> pb.VerifyObjectResponse:
        """Ask for a verification."""
        stored = self.verifications.verify(self.callers.of(context), request.object_id)
        return pb.VerifyObjectResponse(stored_object=object_message(stored))
