"""Donors, specimens and samples as messages. Etags are for those who may send them back with a correction."""

from song.v1 import entity_pb2

from song_grpc.domain.analysis import Donor, Sample, Specimen


def donor_message(donor: Donor, *, with_etag: bool = False) -> entity_pb2.Donor:
    """Return a donor as message."""
    return entity_pb2.Donor(
        donor_id=donor.donor_id,
        submitter_donor_id=donor.submitter_donor_id,
        gender=donor.gender,
        info_json=donor.info_json,
        etag=donor.etag if with_etag else "",
    )


def specimen_message(specimen: Specimen, *, with_etag: bool = False) -> entity_pb2.Specimen:
    """Return a specimen as message."""
    return entity_pb2.Specimen(
        specimen_id=specimen.specimen_id,
        donor_id=specimen.donor_id,
        submitter_specimen_id=specimen.submitter_specimen_id,
        tumour_normal_designation=specimen.tumour_normal_designation,
        specimen_tissue_source=specimen.specimen_tissue_source,
        specimen_type=specimen.specimen_type,
        info_json=specimen.info_json,
        etag=specimen.etag if with_etag else "",
    )


def sample_message(sample: Sample, *, with_parts: bool = True, with_etag: bool = False) -> entity_pb2.Sample:
    """Return a sample as message, with or without its specimen and donor."""
    return entity_pb2.Sample(
        sample_id=sample.sample_id,
        specimen_id=sample.specimen_id,
        submitter_sample_id=sample.submitter_sample_id,
        sample_type=sample.sample_type,
        matched_normal_submitter_sample_id=sample.matched_normal_submitter_sample_id,
        info_json=sample.info_json,
        specimen=specimen_message(sample.specimen, with_etag=with_etag) if with_parts else None,
        donor=donor_message(sample.donor, with_etag=with_etag) if with_parts else None,
        etag=sample.etag if with_etag else "",
    )


def donor_of(message: entity_pb2.Donor, study_id: str) -> Donor:
    """Return what a message says about a donor, checked by nobody yet."""
    return Donor(message.donor_id, study_id, message.submitter_donor_id, message.gender, message.info_json)


def specimen_of(message: entity_pb2.Specimen) -> Specimen:
    """Return what a message says about a specimen, checked by nobody yet."""
    return Specimen(
        specimen_id=message.specimen_id,
        donor_id=message.donor_id,
        submitter_specimen_id=message.submitter_specimen_id,
        tumour_normal_designation=message.tumour_normal_designation,
        specimen_tissue_source=message.specimen_tissue_source,
        specimen_type=message.specimen_type,
        info_json=message.info_json,
    )


def sample_of(message: entity_pb2.Sample, study_id: str) -> Sample:
    """Return what a message says about a sample, checked by nobody yet."""
    matched_normal = message.matched_normal_submitter_sample_id
    return Sample(
        sample_id=message.sample_id,
        specimen_id=message.specimen_id,
        submitter_sample_id=message.submitter_sample_id,
        sample_type=message.sample_type,
        matched_normal_submitter_sample_id=(
            matched_normal if message.HasField("matched_normal_submitter_sample_id") else None
        ),
        info_json=message.info_json,
        specimen=specimen_of(message.specimen),
        donor=donor_of(message.donor, study_id),
    )
