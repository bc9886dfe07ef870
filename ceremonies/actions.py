"""Every kind of ceremony by its name. The engine is `ceremonies.procedures`."""

from ceremonies.authorities import CA_ROTATE_ACTION, CA_SWITCH_ACTION
from ceremonies.baselines import BASELINE_ACTION
from ceremonies.births import BIRTH_ACTION
from ceremonies.boxes import IMPORT_GRANT_ACTION
from ceremonies.closing import CLOSE_ACTION
from ceremonies.counters import COUNTER_ACTION
from ceremonies.element_imports import ELEMENTS_ACTION
from ceremonies.enrolment import STATION_ENROL_ACTION, STATION_RESUME_ACTION
from ceremonies.genesis import GENESIS, GENESIS_ACTION
from ceremonies.grants import GRANT_ACTION, PLANT_CA_ACTION
from ceremonies.imports import IMPORT_ACTION
from ceremonies.opening import WORK_ORDER_ACTION
from ceremonies.procedures import Action
from ceremonies.responders import CMP_RESPONDER_ACTION, RESPONDER_ACTION
from ceremonies.retirement import DESTROY_ACTION, RESUME_ACTION
from ceremonies.rotation import ROTATION_ACTION, TRANSITION_ACTION
from ceremonies.selections import REVOKE_ACTION
from ceremonies.sites import SITE_ACTION
from ceremonies.succession import LOG_KEY_RETIRE_ACTION, LOG_KEY_ROTATE_ACTION

ACTIONS: dict[str, Action] = {
    GENESIS: GENESIS_ACTION,
    "work-order": WORK_ORDER_ACTION,
    "station-enrol": STATION_ENROL_ACTION,
    "station-resume": STATION_RESUME_ACTION,
    "work-order-close": CLOSE_ACTION,
    "trust-set": ROTATION_ACTION,
    "transition": TRANSITION_ACTION,
    "counter-update": COUNTER_ACTION,
    "birth-package": BIRTH_ACTION,
    "baseline": BASELINE_ACTION,
    "register-import": IMPORT_ACTION,
    "elements-import": ELEMENTS_ACTION,
    "plant-ca": PLANT_CA_ACTION,
    "grant": GRANT_ACTION,
    "grant-import": IMPORT_GRANT_ACTION,
    "destroy": DESTROY_ACTION,
    "resume": RESUME_ACTION,
    "ca-rotate": CA_ROTATE_ACTION,
    "ca-switch": CA_SWITCH_ACTION,
    "ocsp-responder": RESPONDER_ACTION,
    "cmp-responder": CMP_RESPONDER_ACTION,
    "revoke": REVOKE_ACTION,
    "site-ca": SITE_ACTION,
    "log-key-rotate": LOG_KEY_ROTATE_ACTION,
    "log-key-retire": LOG_KEY_RETIRE_ACTION,
}
