"""Every limit of Song, with its unit. What is beyond one is refused, never cut; only violations are, to be sent."""

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE

# Messages and pages.
MAX_MESSAGE_BYTES = 17 * MEBIBYTE
MAX_PAGE_BYTES = 3 * MEBIBYTE  # below 4 MiB, the default limit of most gRPC clients
DEFAULT_PAGE_ITEMS = 100
MAX_PAGE_ITEMS = 1000
MAX_PAGE_TOKEN_CHARS = 2 * KIBIBYTE
MAX_FILTER_BYTES = 2 * KIBIBYTE
MAX_FILTER_TERMS = 32
MAX_FILTER_DEPTH = 16  # parentheses in each other
MAX_SEARCHED_IDS = 10_000  # that a prefix or a pattern may match
MAX_SEARCH_PATTERN_CHARS = 256
MAX_SEARCH_PATTERN_SECONDS = 10.0  # of the processor, for all ids of the study
MAX_EXAMINED_OBJECTS = 10_000  # for one page of ListObjects
MAX_RESOLVED_OBJECTS = 1000
MAX_REQUEST_ID_CHARS = 128
REQUEST_ID_KEPT_SECONDS = 24 * 3600

# JSON text. The number limit is Python's own for converting between text and integers, which guards
# against quadratic work; it holds for decimals too.
MAX_PAYLOAD_BYTES = 16 * MEBIBYTE
MAX_JSON_DEPTH = 64
MAX_NUMBER_CHARS = 4300

# Studies.
MAX_STUDY_ID_CHARS = 36
MAX_STUDY_NAME_CHARS = 1024
MAX_STUDY_DESCRIPTION_BYTES = 64 * KIBIBYTE
MAX_STUDY_INFO_BYTES = MEBIBYTE

# Analysis types.
MAX_TYPE_NAME_CHARS = 225
MAX_SCHEMA_BYTES = MEBIBYTE
MAX_TYPE_VERSION = 2**31 - 1  # an int32 of the contract
MAX_FILE_TYPES = 100
MAX_PATTERN_DEPTH = 32  # groups and sets in each other; parsers of patterns call themselves
MAX_PATTERN_REPETITIONS = 2**31 - 1  # Java's
MAX_LISTED_TYPE_NAMES = 100
MAX_LISTED_TYPE_VERSIONS = 100
MAX_DIFFERENCES = 10_000  # of two versions
MAX_DIFFERENCE_CHARS = 1000  # of what one version has there; cut after that
DEFAULT_COMPARED_ANALYSES = 10_000
MAX_COMPARED_ANALYSES = 1_000_000
COMPARED_TOGETHER = 100  # analyses, read in one transaction
COMPARE_HEARTBEAT_SECONDS = 25.0  # of a comparison that finds nothing for long

# Analyses.
MAX_FILES = 10_000
MAX_SAMPLES = 10_000
MAX_FILE_SIZE_BYTES = 2**63 - 1  # an int64 of the contract
MAX_FILE_NAME_CHARS = 255  # what file systems take
MAX_FILE_TYPE_CHARS = 255
MAX_DATA_TYPE_CHARS = 255

# The work of holding one payload against its schema. Seconds of the thread's processor, so that the verdict
# depends on the payload and not on what else the server does.
MAX_VALIDATION_SECONDS = 10.0
MAX_PATTERN_SECONDS = 1.0  # of those, for all patterns
VALIDATION_DEADLINE_SECONDS = 30.0  # of the clock: then the server is too busy to say
MAX_FORMAT_CHARS = 8 * KIBIBYTE  # of a text that has a format
MAX_IRI_CHARS = 2 * KIBIBYTE  # its checker takes half a millisecond a character

# Changes.
MAX_REASON_CHARS = 1000
MAX_INFO_BYTES = 4 * MEBIBYTE  # that an update brings for a file or an entity; a sample is shown with three of them
MAX_DELETED_FILES = 1000
MAX_CORRECTED_BATCH_BYTES = 8 * MEBIBYTE  # of the analyses that a correction holds in memory at once, but for one
UPDATE_ATTEMPTS = 3  # when the analysis changed while its update was checked

# Exports.
MAX_EXPORTED_IDS = 10_000
EXPORT_BATCH_ANALYSES = 100  # read together, if they are not larger than a page

# Submissions of several callers, or of one stream.
STORED_TOGETHER = 64  # submissions in one transaction
STORED_TOGETHER_ROWS = 2000  # of their files and samples; at least one submission
MAX_BULK_PAYLOADS = 64  # of one stream in work
MAX_BULK_BYTES = 64 * MEBIBYTE  # of their text, but for the last one read
BULK_RIGHTS_SECONDS = 60.0  # then the rights of a stream's caller are asked for anew
BULK_CHECKERS = 4  # threads of a server that hold payloads of streams against their schemas

# Violations.
MAX_VIOLATIONS = 10_000
MAX_ITEM_VIOLATIONS = 100
MAX_VIOLATION_MESSAGE_CHARS = 500
MAX_VIOLATION_POINTER_CHARS = 2_000

# Score.
SCORE_BATCH_OBJECTS = 500
SCORE_DEADLINE_SECONDS = 45.0  # for all batches of one publish, which has 60 s in all
SCORE_WAITERS = 6  # publishes that may wait for Score; other calls keep the rest of the server's threads
SCORE_SILENCE_SECONDS = 1.0  # of all waiting publishes; then no other one waits for a place among them
PUBLISHING_SECONDS = 60.0  # that an analysis stays marked as publishing, if its publish does not end before
PUBLISH_ATTEMPTS = 3  # when the analysis changed while Score was asked

# What is asked over HTTP: external sources of types, the id service.
MAX_EXTERNAL_VALIDATIONS = 20
MAX_URL_TEMPLATE_CHARS = 2048
MAX_JSON_PATH_CHARS = 512
MAX_EXTERNAL_VALUES = 1000  # of one payload
MAX_EXTERNAL_VALUE_CHARS = 1024
MAX_EXTERNAL_PERMISSIONS = 10_000
EXTERNAL_PERMISSION_SECONDS = 60.0
EXTERNAL_SOURCES_SECONDS = 20.0  # for all values of one payload
ID_SERVICE_SECONDS = 25.0  # for all entities of one payload, which has 30 s in all
MAX_SERVICE_IDS = 50_000
SERVICE_ID_SECONDS = 600.0
MAX_SERVICE_ID_CHARS = 36
OUTBOUND_TRY_SECONDS = 5.0
OUTBOUND_TRIES = 3
MAX_OUTBOUND_ANSWER_BYTES = MEBIBYTE
OUTBOUND_CALLS = 32  # at once, to all external sources; to the id service as many again
OUTBOUND_CALLS_TOGETHER = 8  # of one payload
OUTBOUND_WAITERS = 6  # payloads that may wait for them; other calls keep the rest of the server's threads
OUTBOUND_PLACE_SECONDS = 1.0

# Events.
MAX_WATCHED_STUDIES = 100
MAX_WATCHED_TYPES = 100
MAX_RESUME_TOKEN_CHARS = 64
MAX_WATCHERS = 32  # half of the server's streams: the others are left to other methods
WATCH_SCAN_EVENTS = 1000  # looked at in one transaction
WATCH_BATCH_BYTES = 2 * MEBIBYTE  # analyses in memory for one watcher; at least one event
WATCH_HEARTBEAT_SECONDS = 25.0  # the contract promises a sign of life every 30 s
WATCH_SKIPPED_EVENTS = 10_000  # events that do not fit, after which a watcher gets a newer token
WATCH_RIGHTS_SECONDS = 60.0  # then a watcher's rights are asked for anew
RELAY_LEASE_SECONDS = 10.0
RELAY_POLL_SECONDS = 0.5  # an event that another process stored is seen so late
RELAY_GATHER_SECONDS = 0.02  # changes of so long get their positions in one transaction
RELAY_BATCH_EVENTS = 500
RELAY_BATCH_BYTES = 8 * MEBIBYTE  # analyses sent before the broker's acknowledgement is awaited; at least one event
RELAY_BACKOFF_SECONDS = 5.0  # at most, between tries while the broker is down
BROKER_SEND_SECONDS = 5.0  # less than the lease by more than what it may take longer
PRUNE_PERIOD_SECONDS = 60.0
PRUNE_BATCH_EVENTS = 500
