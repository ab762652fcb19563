from twisted.application.service import ServiceMaker

scfd = ServiceMaker("scfd", "scfd.tap", "Run business code as a cloud function node.", "scfd")
