"""AnalysisService."""

from song_grpc.transport.analysis_bulk import AnalysisBulk
from song_grpc.transport.analysis_reading import AnalysisReading
from song_grpc.transport.analysis_records import AnalysisRecords
from song_grpc.transport.analysis_writing import AnalysisWriting


class AnalysisServicer(AnalysisBulk, AnalysisReading, AnalysisRecords, AnalysisWriting):
    """What gRPC calls, made by the first of its parts."""
