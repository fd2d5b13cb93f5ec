package madang;

import java.io.FileReader;
import java.io.Reader;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.common.acl.AccessControlEntry;
import org.apache.kafka.common.acl.AclBinding;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;

/**
 * Gives a user rights on a cluster: {@code Rights FILE USER [OPERATION TYPE PATTERN NAME]…}, with the client's
 * properties in the file. Kafka's own tool for it is not part of the broker's packages.
 */
public final class Rights {
    private Rights() {}

    public static void main(String[] arguments) throws Exception {
        Properties properties = new Properties();
        try (Reader file = new FileReader(arguments[0])) {
            properties.load(file);
        }
        List<AclBinding> rights = new ArrayList<>();
        for (int at = 2; at < arguments.length; at += 4) {
            ResourceType type = ResourceType.fromString(arguments[at + 1]);
            PatternType pattern = PatternType.valueOf(arguments[at + 2].toUpperCase(Locale.ROOT));
            AclOperation operation = AclOperation.fromString(arguments[at]);
            rights.add(new AclBinding(
                new ResourcePattern(type, arguments[at + 3], pattern),
                new AccessControlEntry("User:" + arguments[1], "*", operation, AclPermissionType.ALLOW)));
        }
        try (Admin admin = Admin.create(properties)) {
            admin.createAcls(rights).all().get();
        }
    }
}
