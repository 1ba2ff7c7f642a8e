"""Exports log records with OpenTelemetry's SDK: `otlp.py URL COMPRESSION COUNT`."""

import logging
import sys
import warnings

warnings.simplefilter("ignore")

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource

url, compression, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
exporter = OTLPLogExporter(endpoint=url + "/v1/logs", compression=Compression(compression))
resource = Resource.create({"service.name": "payments", "service.version": "1.2.3"})
provider = LoggerProvider(resource=resource)
provider.add_log_record_processor(BatchLogRecordProcessor(exporter))

log = logging.getLogger("shop.checkout")
log.setLevel(logging.INFO)
log.addHandler(LoggingHandler(logger_provider=provider))
for number in range(count):
    log.info("paid %d", number, extra={"order": f"o-{number}", "amount": number})
log.error("card refused", extra={"log.kind": "security"})

provider.get_logger("shop.audit", "7").emit(
    LogRecord(
        timestamp=1_763_800_000_123_456_789,
        trace_id=0x0AF7651916CD43DD8448EB211C80319C,
        span_id=0xB7AD6B7169203331,
        severity_number=SeverityNumber.WARN,
        severity_text="WARN",
        body={"who": "admin", "did": ["login", 2]},
        attributes={"event.kind": "audit", "ratio": 0.5, "flags": [True, False]},
    )
)
if not provider.force_flush():
    sys.exit("not flushed")
provider.shutdown()
