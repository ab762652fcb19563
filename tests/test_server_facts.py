"""What is known of the control planes in the field, and the tests that hold the node to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from twisted.python.reflect import namedAny
from twisted.trial.unittest import SynchronousTestCase

from scfd.config import HeartbeatSettings
from tests.test_config import ConfigCase

#: Facts, each with its tests: ``module.Class.test`` below ``tests``.
FACTS: Mapping[str, Sequence[str]] = {
    # The generations
    "1 to 3 have their own paths": (
        "test_generations.PathTests.test_the_paths_of_the_generations",
        "integration.test_conformance.TaskStatusTests.test_what_becomes_of_a_result",
        "integration.test_conformance_2.TaskStatusTests.test_what_becomes_of_a_result",
        "integration.test_conformance_3.TaskStatusTests.test_what_becomes_of_a_result",
    ),
    "a task is deleted by invalid in 1 and 2, by is_deleted in 3; the digest is over the others": (
        "test_generations.DecodedTests.test_deleted_tasks_are_invalid",
        "integration.test_conformance.HeartbeatTests.test_the_digest_and_the_task_list",
        "integration.test_conformance_2.HeartbeatTests.test_the_digest_and_the_task_list",
        "integration.test_conformance_3.HeartbeatTests.test_the_digest_and_the_task_list",
    ),
    "a report names its task id in 1 and 2, instance_id in 3": (
        "test_generations.ReportRequestTests.test_the_name_of_the_task",
    ),
    "a node learns which one it meets, also after a change": (
        "integration.test_generations.GenerationTests.test_each_generation",
        "integration.test_generations.GenerationTests.test_a_server_that_goes_from_1_to_3_and_back",
        "test_learning.AutoTests.test_each_change_of_generation_is_noticed_and_costs_no_result",
    ),
    # Signatures
    "the Auth header has five parts, the last made of the body": (
        "test_signing.SignerTests.test_the_header",
        "integration.test_conformance.SignatureTests.test_signed_requests_and_another_prefix",
        "integration.test_conformance_3.SignatureTests.test_signed_requests_and_another_prefix",
    ),
    "an access key has no slash": ("test_server_facts.ConfigTests.test_an_access_key_has_no_slash",),
    "a lifetime is up to 1800 s, clocks may differ by 300 s, and anything else is a 401": (
        "test_signing.SignerTests.test_what_a_server_does_not_take",
        "test_dev_routes.Generation3Tests.test_the_signature",
    ),
    "a 401 is said, and teaches nothing": (
        "integration.test_generation_faults.FaultTests.test_keys_that_are_wrong_or_missing",
        "test_learning.AutoTests.test_keys_that_are_missing",
    ),
    # Responses of generation 3
    "the status is 200, and only code 0 means taken": (
        "test_verdict.Generation3Tests.test_only_code_0_is_taken",
        "test_verdict.Generation3Tests.test_business_codes",
        "integration.test_conformance_3.TaskStatusTests.test_what_becomes_of_a_result",
    ),
    "framework errors use the same member, 1 with a header that tells it from the business code": (
        "test_verdict.Generation3Tests.test_framework_codes",
        "test_dev_routes.Generation3Tests.test_strict_requests",
        "test_dev_routes.Generation3Tests.test_other_paths",
    ),
    "141, 999 and other framework codes, but 1 and 12, are tried again": (
        "test_heartbeat.Generation3Tests.test_which_errors_are_tried_again",
        "integration.test_conformance_3.TaskStatusTests.test_what_becomes_of_a_result",
    ),
    # Strict requests
    "an unknown field or a wrong type refuses a heartbeat; metadata and metrics may be any object": (
        "test_generations.HeartbeatRequestTests.test_generation_3_gets_unknown_fields_in_metadata",
        "test_generations.HeartbeatRequestTests.test_generation_3_gets_no_field_of_a_type_that_it_refuses",
        "test_dev_routes.Generation3Tests.test_strict_requests",
        "integration.test_conformance_3.HeartbeatTests.test_what_a_heartbeat_says",
    ),
    "a status may be 2, 2.0 or text; an empty body is an empty object": (
        "test_dev_routes.Generation3Tests.test_reports",
        "test_dev_routes.Generation3Tests.test_strict_requests",
    ),
    # Heartbeats of generation 3
    "the heartbeat has an alias, and tasks as it hands them out": (
        "test_dev_routes.Generation3Tests.test_a_heartbeat",
    ),
    "not planned yet: the tasks stay": (
        "integration.test_conformance_3.HeartbeatTests.test_responses_that_change_nothing",
        "test_dev_routes.Generation3Tests.test_not_planned_yet",
    ),
    "nothing to do: the list is cleared": (
        "integration.test_conformance_3.HeartbeatTests.test_the_digest_and_the_task_list",
        "test_dev_routes.Generation3Tests.test_nothing_to_do",
    ),
    "an unknown node with collectors gets code 4 and no list: the tasks stay": (
        "test_heartbeat.Generation3Tests.test_a_node_that_the_server_does_not_know",
        "integration.test_generation_faults.FaultTests.test_a_node_that_the_server_does_not_know",
    ),
    "package_version may be empty; another version may be logged only": (
        "test_heartbeat.AcceptedTests.test_the_same_version_is_fine",
        "test_heartbeat.VersionLogTests.test_another_version_is_said_once",
    ),
    # Task status of generation 3
    "id is refused as an unknown field: a mistake about the generation": (
        "test_verdict.Generation3Tests.test_an_unknown_field_is_a_mistake_about_the_generation",
        "test_dev_routes.Generation3Tests.test_reports",
    ),
    "a report without a node id is refused: it waits for one": (
        "test_reports.RetryTests.test_waits_for_the_id_of_the_node",
    ),
    "code 4 is an unknown task or a fault: the tries are bounded": (
        "integration.test_conformance_3.TaskStatusTests.test_never_taken",
    ),
    "an empty result is sent as it is": ("test_generations.ReportRequestTests.test_an_empty_result",),
    # Probes
    "status 200 and success are what counts; no token comes with it": (
        "integration.test_conformance_3.FirstProbeTests.test_a_probe_brings_the_address_and_gets_the_figures",
    ),
    "service_gateway, else admin_gateway, else the older fields; storage_access": (
        "test_probe.AddressTests.test_deployed_services_come_first",
        "test_probe.AddressTests.test_the_storage_server",
        "integration.test_conformance_3.FirstProbeTests.test_deployed_services",
    ),
    "a server that does not know its address names the host unknown": (
        "test_probe.AddressTests.test_hosts_that_can_not_be_a_server",
        "test_probe.NewerProbesTests.test_a_host_that_can_not_be_a_server_changes_nothing",
        "integration.test_conformance_3.FirstProbeTests.test_deployed_services",
    ),
    "data has the server's id of the node": (
        "test_probe.NewerProbesTests.test_the_servers_id_of_the_node",
        "integration.test_conformance_3.FirstProbeTests.test_deployed_services",
    ),
    "a node is online for 35 s after a heartbeat": (
        "test_server_facts.ConfigTests.test_three_heartbeats_may_be_lost",
    ),
    # Generations 1 and 2
    "generation 1 responds with code 3 to other paths: no refusal": (
        "test_learning.AutoTests.test_each_change_of_generation_is_noticed_and_costs_no_result",
        "test_generations.SpokenTests.test_code_3_proves_nothing",
        "test_dev_routes.Generation1Tests.test_other_paths_are_the_trap",
        "integration.test_generations.GenerationTests.test_a_server_that_goes_from_1_to_3_and_back",
    ),
    "generations 2 and 3 respond with a plain 404 to the paths of 1": (
        "test_verdict.Generation1And2Tests.test_a_404_of_generation_2_means_the_path",
        "test_learning.AutoTests.test_a_404_of_what_was_a_generation_1_server",
        "test_dev_routes.Generation2Tests.test_the_paths_of_generation_1",
        "test_dev_routes.Generation3Tests.test_other_paths",
    ),
    "generation 2 refuses heartbeats by a code": (
        "test_dev_routes.Generation2Tests.test_a_heartbeat_that_is_refused_has_status_200",
        "integration.test_conformance_2.HeartbeatTests.test_a_code_other_than_200_is_not_retried",
    ),
    "an unknown node is refused by 1, 2 and 3 in different words": (
        "test_dev_routes.Generation1Tests.test_an_unknown_node",
        "test_dev_routes.Generation2Tests.test_an_unknown_node",
        "test_dev_routes.Generation3Tests.test_an_unknown_node",
        "integration.test_generation_faults.FaultTests.test_a_node_that_the_server_does_not_know",
    ),
    "a 400 or 404 behind the gateway is a 500 with a text": (
        "test_verdict.Generation1And2Tests.test_a_status_that_the_gateway_wraps_into_a_500",
        "integration.test_conformance.TaskStatusTests.test_what_becomes_of_a_result",
        "integration.test_conformance_2.TaskStatusTests.test_what_becomes_of_a_result",
    ),
    "status 0 counts as none, and is sent as 1": (
        "test_generations.ReportRequestTests.test_status_0_is_one_that_generations_1_and_2_take_for_none",
        "test_dev_routes.Generation1Tests.test_what_ends_in_a_wrapped_400",
    ),
    "ids with #, % or / and reports without a node id end in that 500": (
        "test_dev_routes.Generation1Tests.test_what_ends_in_a_wrapped_400",
        "test_dev_routes.Generation2Tests.test_reports_that_are_wrapped",
    ),
    "unknown heartbeat fields are ignored": (
        "test_generations.HeartbeatRequestTests.test_generations_1_and_2_take_any_field",
        "test_dev_routes.Generation2Tests.test_a_heartbeat",
    ),
    "initializing may last for ever: the tasks stay": (
        "integration.test_conformance.HeartbeatTests.test_responses_that_change_nothing",
        "integration.test_generation_faults.FaultTests.test_a_server_that_is_initializing_for_ever",
    ),
    "planning makes rows anew with the same digest": (
        "test_heartbeat.AcceptedTests.test_rows_that_were_made_anew",
    ),
}


class ConfigTests(ConfigCase):
    def test_an_access_key_has_no_slash(self) -> None:
        for wrong in ("a/b", "/", "a b", ""):
            (mistake,) = self.mistakes(f"heartbeat: {{auth: {{access_key: '{wrong}', secret_key: s}}}}")
            self.assertIn("heartbeat.auth.access_key: ", mistake)

    def test_three_heartbeats_may_be_lost(self) -> None:
        """Within the 35 s after which a server takes a node for gone, by default."""
        self.assertLess(3 * HeartbeatSettings().interval, 35)


class FactsTests(SynchronousTestCase):
    def test_each_fact_has_its_tests(self) -> None:
        for fact, tests in FACTS.items():
            for test in tests:
                with self.subTest(fact=fact, test=test):
                    self.assertTrue(callable(namedAny(f"tests.{test}")))
