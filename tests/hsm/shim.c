/* A PKCS#11 module for tests: it forwards every call to another module, and fails, delays or hangs those that the
 * control file beside it names ("<this library>.control", mapped shared, so that a test changes it at any time).
 * Copies of this library under other names have a control file each and know nothing of each other.
 *
 * Function list and parameters: PKCS#11 v2.40, section 3.7 and pkcs11f.h. All parameters are CK_ULONG, pointers or
 * CK_BBOOL, so each is passed on as one machine word.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

typedef unsigned long word;

#define GENERAL_ERROR 0x05UL
#define FUNCTIONS 68
#define PLACE 1024
#define HANG UINT64_MAX
#define AFTER 1

/* The layout that tests/hsm/shim.py writes. Calls are counted from 1 since the control file was made. */
struct rule {
    uint64_t calls; /* how often the function was called */
    uint64_t first; /* the first call that the rule is for; 0: none */
    uint64_t last;  /* the last one */
    uint64_t rv;    /* what these calls return; 0: what the module says */
    uint64_t when;  /* AFTER: the call is forwarded first, and its answer lost */
    uint64_t delay; /* milliseconds before these calls; HANG: they never return */
};

struct control {
    char module[PLACE]; /* the module that calls are forwarded to */
    char conf[PLACE];   /* SOFTHSM2_CONF while that module is initialised; empty: as it is */
    struct rule rules[FUNCTIONS];
};

struct list {
    unsigned char version[2];
    void *functions[FUNCTIONS];
};

static struct control *control;
static struct list *real;
static struct list ours;

static void wait_ms(uint64_t delay)
{
    struct timespec time = {(time_t)(delay / 1000), (long)(delay % 1000) * 1000000L};
    if (delay == HANG)
        for (;;)
            pause();
    nanosleep(&time, NULL);
}

/* The rule for this call of a function; NULL when it goes through as it is. */
static struct rule *enter(int number)
{
    struct rule *rule = &control->rules[number];
    uint64_t call = __atomic_add_fetch(&rule->calls, 1, __ATOMIC_SEQ_CST);
    if (!rule->first || call < rule->first || call > rule->last)
        return NULL;
    if (rule->delay)
        wait_ms(rule->delay);
    return rule;
}

#define PARAMETERS_1 word a
#define PARAMETERS_2 PARAMETERS_1, word b
#define PARAMETERS_3 PARAMETERS_2, word c
#define PARAMETERS_4 PARAMETERS_3, word d
#define PARAMETERS_5 PARAMETERS_4, word e
#define PARAMETERS_6 PARAMETERS_5, word f
#define PARAMETERS_8 PARAMETERS_6, word g, word h
#define ARGUMENTS_1 a
#define ARGUMENTS_2 ARGUMENTS_1, b
#define ARGUMENTS_3 ARGUMENTS_2, c
#define ARGUMENTS_4 ARGUMENTS_3, d
#define ARGUMENTS_5 ARGUMENTS_4, e
#define ARGUMENTS_6 ARGUMENTS_5, f
#define ARGUMENTS_8 ARGUMENTS_6, g, h

#define FORWARD(number, name, arity)                                                       \
    static word ours_##name(PARAMETERS_##arity)                                            \
    {                                                                                      \
        struct rule *rule = enter(number);                                                 \
        if (rule && rule->rv && rule->when != AFTER)                                       \
            return rule->rv;                                                               \
        word rv = ((word(*)(PARAMETERS_##arity))real->functions[number])(ARGUMENTS_##arity); \
        return rule && rule->rv ? rule->rv : rv;                                           \
    }

#define EACH(X)                                                                                              \
    X(1, C_Finalize, 1) X(2, C_GetInfo, 1) X(4, C_GetSlotList, 3) X(5, C_GetSlotInfo, 2)                     \
    X(6, C_GetTokenInfo, 2) X(7, C_GetMechanismList, 3) X(8, C_GetMechanismInfo, 3) X(9, C_InitToken, 4)     \
    X(10, C_InitPIN, 3) X(11, C_SetPIN, 5) X(12, C_OpenSession, 5) X(13, C_CloseSession, 1)                  \
    X(14, C_CloseAllSessions, 1) X(15, C_GetSessionInfo, 2) X(16, C_GetOperationState, 3)                    \
    X(17, C_SetOperationState, 5) X(18, C_Login, 4) X(19, C_Logout, 1) X(20, C_CreateObject, 4)              \
    X(21, C_CopyObject, 5) X(22, C_DestroyObject, 2) X(23, C_GetObjectSize, 3)                               \
    X(24, C_GetAttributeValue, 4) X(25, C_SetAttributeValue, 4) X(26, C_FindObjectsInit, 3)                  \
    X(27, C_FindObjects, 4) X(28, C_FindObjectsFinal, 1) X(29, C_EncryptInit, 3) X(30, C_Encrypt, 5)         \
    X(31, C_EncryptUpdate, 5) X(32, C_EncryptFinal, 3) X(33, C_DecryptInit, 3) X(34, C_Decrypt, 5)           \
    X(35, C_DecryptUpdate, 5) X(36, C_DecryptFinal, 3) X(37, C_DigestInit, 2) X(38, C_Digest, 5)             \
    X(39, C_DigestUpdate, 3) X(40, C_DigestKey, 2) X(41, C_DigestFinal, 3) X(42, C_SignInit, 3)              \
    X(43, C_Sign, 5) X(44, C_SignUpdate, 3) X(45, C_SignFinal, 3) X(46, C_SignRecoverInit, 3)                \
    X(47, C_SignRecover, 5) X(48, C_VerifyInit, 3) X(49, C_Verify, 5) X(50, C_VerifyUpdate, 3)               \
    X(51, C_VerifyFinal, 3) X(52, C_VerifyRecoverInit, 3) X(53, C_VerifyRecover, 5)                          \
    X(54, C_DigestEncryptUpdate, 5) X(55, C_DecryptDigestUpdate, 5) X(56, C_SignEncryptUpdate, 5)            \
    X(57, C_DecryptVerifyUpdate, 5) X(58, C_GenerateKey, 5) X(59, C_GenerateKeyPair, 8) X(60, C_WrapKey, 6)  \
    X(61, C_UnwrapKey, 8) X(62, C_DeriveKey, 6) X(63, C_SeedRandom, 3) X(64, C_GenerateRandom, 3)            \
    X(65, C_GetFunctionStatus, 1) X(66, C_CancelFunction, 1) X(67, C_WaitForSlotEvent, 3)

EACH(FORWARD)

/* SoftHSM reads SOFTHSM2_CONF when it is initialised: each copy of this library can stand for a device of its own. */
static word ours_C_Initialize(word a)
{
    struct rule *rule = enter(0);
    if (rule && rule->rv && rule->when != AFTER)
        return rule->rv;
    char *before = getenv("SOFTHSM2_CONF");
    char *kept = before ? strdup(before) : NULL;
    if (control->conf[0])
        setenv("SOFTHSM2_CONF", control->conf, 1);
    word rv = ((word(*)(word))real->functions[0])(a);
    if (control->conf[0]) {
        if (kept)
            setenv("SOFTHSM2_CONF", kept, 1);
        else
            unsetenv("SOFTHSM2_CONF");
    }
    free(kept);
    return rule && rule->rv ? rule->rv : rv;
}

static int map_control(void)
{
    Dl_info info;
    char path[PLACE + 16];
    if (!dladdr((void *)map_control, &info))
        return -1;
    snprintf(path, sizeof path, "%s.control", info.dli_fname);
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0)
        return -1;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped == MAP_FAILED)
        return -1;
    control = mapped;
    return 0;
}

static int load_module(void)
{
    word (*get_list)(struct list **);
    void *library = dlopen(control->module, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        fprintf(stderr, "shim: %s\n", dlerror());
        return -1;
    }
    *(void **)&get_list = dlsym(library, "C_GetFunctionList");
    return get_list && get_list(&real) == 0 ? 0 : -1;
}

word C_GetFunctionList(struct list **given)
{
    if (!real) {
        if (map_control() || load_module())
            return GENERAL_ERROR;
        ours = *real;
        ours.functions[0] = (void *)ours_C_Initialize;
        ours.functions[3] = (void *)C_GetFunctionList;
#define PLACE_FUNCTION(number, name, arity) ours.functions[number] = (void *)ours_##name;
        EACH(PLACE_FUNCTION)
    }
    *given = &ours;
    return 0;
}
