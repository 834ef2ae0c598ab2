# nginx with one worker, HTTP/2 without TLS (or HTTP/1.1 where NGINX_HTTP2 is off), answering from memory.
content=$(head -c 120 /dev/zero | tr '\0' x)
cat > "$1/nginx.conf" <<END
daemon off; master_process off; worker_processes 1; pid $1/nginx.pid; error_log $1/error.log;
events { worker_connections 1024; }
http {
    access_log off; keepalive_requests 1000000000; http2_max_concurrent_streams 1024;
    client_body_temp_path $1; proxy_temp_path $1; fastcgi_temp_path $1; uwsgi_temp_path $1; scgi_temp_path $1;
    server { listen 127.0.0.1:$2; http2 ${NGINX_HTTP2:-on}; location / { return 200 "$content"; } }
}
END
exec nginx -p "$1" -e "$1/error.log" -c "$1/nginx.conf"
